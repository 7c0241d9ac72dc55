# sbatch <run folder>/submit_scripts/campaign-<workspace>-cpu.<time>
#!/bin/bash

#SBATCH --job-name=campaign-<workspace>-cpu.<time>
#SBATCH --output=<run folder>/submit_scripts/campaign-<workspace>-cpu.<time>.stdout
#SBATCH --error=<run folder>/submit_scripts/campaign-<workspace>-cpu.<time>.stderr
#SBATCH --nodes=1
#SBATCH --time=360
#SBATCH --ntasks-per-node=1
#SBATCH --no-requeue
#SBATCH --exclusive
#SBATCH --account=<account>
#SBATCH --qos=regular
#SBATCH --constraint=cpu


export CAMPAIGN_DEADLINE_UNIX=$(( ${SLURM_JOB_END_TIME:-$(( $(date +%s) + 21600 ))} - 60 ))
export OMP_NUM_THREADS=1
export MKL_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
export OPENMM_CPU_THREADS=1
export NUMEXPR_NUM_THREADS=1



export JOBNAME="campaign-<workspace>-cpu.<time>"

<python> -P -m campaign.execution.even_clock process_worker_pool.py  --max_workers_per_node=128 -a <addresses> -p 0 -c 1e-06 -m None --poll 10 --port=<port> --cert_dir <certificates> --logdir=<run folder>/cpu --logconf=<run folder>/cpu/log_config/log_config.pkl --block_id=<block> --hb_period=30  --hb_threshold=300 --drain_period=21420 --cpu-affinity none  --mpi-launcher=mpiexec --available-accelerators 
