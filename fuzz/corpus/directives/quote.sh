#!/bin/sh
#SBATCH -J "never closed
#SBATCH -t 5
