"""Slurm jobs: batch scripts on HPC and HTC clusters, over slurmrestd or ssh."""
