# sbatch <run folder>/submit_scripts/campaign-<workspace>-gpu.<time>
#!/bin/bash

#SBATCH --job-name=campaign-<workspace>-gpu.<time>
#SBATCH --output=<run folder>/submit_scripts/campaign-<workspace>-gpu.<time>.stdout
#SBATCH --error=<run folder>/submit_scripts/campaign-<workspace>-gpu.<time>.stderr
#SBATCH --nodes=1
#SBATCH --time=360
#SBATCH --ntasks-per-node=1
#SBATCH --no-requeue
#SBATCH --exclusive
#SBATCH --partition=standard-g
#SBATCH --account=<account>
#SBATCH --gpus-per-node=8


export CAMPAIGN_DEADLINE_UNIX=$(( ${SLURM_JOB_END_TIME:-$(( $(date +%s) + 21600 ))} - 60 ))
export OMP_NUM_THREADS=1
export MKL_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
export OPENMM_CPU_THREADS=1
export NUMEXPR_NUM_THREADS=1



export JOBNAME="campaign-<workspace>-gpu.<time>"

<python> -P -m campaign.execution.even_clock process_worker_pool.py  --max_workers_per_node=8 -a <addresses> -p 0 -c 1e-06 -m None --poll 10 --port=<port> --cert_dir <certificates> --logdir=<run folder>/gpu --logconf=<run folder>/gpu/log_config/log_config.pkl --block_id=<block> --hb_period=30  --hb_threshold=300 --drain_period=21420 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators 0 1 2 3 4 5 6 7
