"""What a campaign will take, said before it is spent: node-hours, files and bytes."""
