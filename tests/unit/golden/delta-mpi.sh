# sbatch <run folder>/submit_scripts/campaign-<workspace>-mpi.<time>
#!/bin/bash

#SBATCH --job-name=campaign-<workspace>-mpi.<time>
#SBATCH --output=<run folder>/submit_scripts/campaign-<workspace>-mpi.<time>.stdout
#SBATCH --error=<run folder>/submit_scripts/campaign-<workspace>-mpi.<time>.stderr
#SBATCH --nodes=2
#SBATCH --time=360
#SBATCH --ntasks-per-node=1
#SBATCH --no-requeue
#SBATCH --ntasks-per-node=4
#SBATCH --exclusive
#SBATCH --partition=gpuA100x4
#SBATCH --account=<account that ends in -delta-gpu>
#SBATCH --gpus-per-node=4
#SBATCH --mem=208g


export CAMPAIGN_DEADLINE_UNIX=$(( ${SLURM_JOB_END_TIME:-$(( $(date +%s) + 21600 ))} - 60 ))
export OMP_NUM_THREADS=1
export MKL_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
export OPENMM_CPU_THREADS=1
export NUMEXPR_NUM_THREADS=1

export PARSL_MEMORY_GB=208


export JOBNAME="campaign-<workspace>-mpi.<time>"

<python> -P -m campaign.execution.even_clock process_worker_pool.py  --max_workers_per_node=1 -a <addresses> -p 0 -c 1e-09 -m None --poll 10 --port=<port> --cert_dir <certificates> --logdir=<run folder>/mpi --logconf=<run folder>/mpi/log_config/log_config.pkl --block_id=<block> --hb_period=30  --hb_threshold=300 --drain_period=21420 --cpu-affinity none --enable_mpi_mode  --mpi-launcher=srun --available-accelerators 
