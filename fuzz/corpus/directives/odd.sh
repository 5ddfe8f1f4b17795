#!/bin/sh
#SBATCH
#SBATCH #
#SBATCH --
#SBATCH -
#SBATCH =
#SBATCH --=
#SBATCH "" ''
#SBATCH -J \
#PCLUSTER --spot=
#SBATCH -k -k -koff
#SBATCH --mem=4G"#"5
