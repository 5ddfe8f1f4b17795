#!/bin/bash
#SBATCH -J one
#SBATCH -n 1
#SBATCH -t 10
#SBATCH --job-name=long-names
#SBATCH --ntasks=1
#SBATCH --time=00:10:00
#SBATCH   --job-name=spaced   
#SBATCH    --time=30   
#SBATCH	-J	tabbed
#SBATCH	--mem	2G	--time	5
#SBATCH -J many -n 2 -c 4 --mem=8G -t 2:00:00 -p main
#SBATCH -Jglued -n4 -c2 -t60 -pmain
#SBATCH --job-name="two words"
#SBATCH --comment="for the paper, figure 3"
#SBATCH --job-name='single'
#SBATCH --comment='it is "quoted"'
#SBATCH --comment=pre"mid dle"post
#SBATCH -J"glued quotes" -t 5
#SBATCH --mem=4G # four is enough
#SBATCH --time=1:00:00   # one hour
#SBATCH --mem=4G#four
#SBATCH -t5#five
#SBATCH --comment="issue #12" -t 5
#SBATCH --comment="say \"hi\""
#SBATCH --job-name=a\b
#SBATCH -J a
 # just a remark
#SBATCH -t 5
#SBATCH -J a
#SBATCH -t 5
##SBATCH -t 5
#SBATCH -J a
# #SBATCH -t 5
#SBATCH -J a
#sbatch -t 5
#SBATCH -J a
# SBATCH -t 5
#SBATCH -J a
 #SBATCH -t 5
#SBATCH -J a
#SBATCH -J a
#SBATCH -t 5
#SBATCH -J a
#SBATCH --mem=1G
#SBATCH -J a -t 5
#SBATCH --mem=2G
#SBATCH -t 5
#SBATCH -t 10
#SBATCH --mem=1G
#SBATCH --mem=2G
#SBATCH --ntasks=4
#SBATCH -n 2
#SBATCH -c 2
#SBATCH --cpus-per-task 8
#SBATCH --time 1-00:00:00
#SBATCH --mem 100M
#SBATCH --partition main
#SBATCH -t 7-0
#SBATCH --time=2-12
#SBATCH --time=1-06:30:15
#SBATCH --time=90:30
#SBATCH -t 1:0:0
#SBATCH -t 0:300
#SBATCH --time=UNLIMITED
#SBATCH --time=infinite
#SBATCH -t 0
#SBATCH --mem=16G
#SBATCH --mem=16GB
#SBATCH --mem=16g
#SBATCH --mem=500M
#SBATCH --mem=500MB
#SBATCH --mem=4000
#SBATCH --mem=2048K
#SBATCH --mem=1T
#SBATCH --mem=0
#SBATCH -c 8 --mem-per-cpu=3800M
#SBATCH --mem-per-cpu 2G
#SBATCH --gpus=2 --mem-per-gpu=40G
#SBATCH -n 16
#SBATCH -N 2 -n 16
#SBATCH --nodes=4 --ntasks-per-node=8
#SBATCH --nodes=2 --tasks-per-node=4
#SBATCH -N 2-4 -n 8
#SBATCH -N 4 -n 2
#SBATCH --ntasks=1 --cpus-per-task=32 --nodes=1
#SBATCH --nodes=2 --ntasks-per-node=4 --cpus-per-task=4 --hint=nomultithread
#SBATCH --nodes=1 --exclusive
#SBATCH --exclusive=user
#SBATCH --oversubscribe
#SBATCH -s -n 2
#SBATCH -O -n 4
#SBATCH --gres=gpu:1
#SBATCH --gres=gpu:a100:2
#SBATCH --gres=gpu:A100:1
#SBATCH --gpus=4
#SBATCH -G 2
#SBATCH --gpus=v100:2
#SBATCH --nodes=2 --gpus-per-node=4
#SBATCH --ntasks=4 --nodes=1 --gpus-per-task=1
#SBATCH --gpus=2 --cpus-per-gpu=8
#SBATCH --gpus=2 --ntasks=4 --ntasks-per-gpu=2
#SBATCH --gres=none
#SBATCH --gpus=2 --gpu-bind=closest
#SBATCH --gpus=1 --gpu-freq=high
#SBATCH --array=0-9
#SBATCH -a 1-4
#SBATCH --array=0-15:4
#SBATCH --array=1,3,7
#SBATCH --array=1-100%10
#SBATCH --array=0-3,8,12-20:2%4
#SBATCH --array=1-3 -o logs_%A_%a.txt -e logs_%A_%a.err
#SBATCH --array=5
#SBATCH --output=%x-%j.out
#SBATCH -o out.txt
#SBATCH -e err.txt
#SBATCH -o run_%4j.log
#SBATCH --output=/tmp/%u-%j.log
#SBATCH --output=logs/%j.out
#SBATCH --output=%j/out.txt
#SBATCH -i data.txt -o out.txt
#SBATCH --open-mode=append -o log.txt
#SBATCH --open-mode=a
#SBATCH --open-mode=truncate
#SBATCH --chdir=/tmp -J there
#SBATCH -D /tmp
#SBATCH -D sub
#SBATCH -A chemistry
#SBATCH --account=physics --qos=long
#SBATCH -q high
#SBATCH --partition=short,long
#SBATCH -C avx2
#SBATCH --constraint="avx2&ib"
#SBATCH --constraint='(avx2)&(ib)'
#SBATCH -C avx2,ib
#SBATCH -w c1
#SBATCH --nodelist=c[1-3,5] -N 4
#SBATCH --exclude=c[2-4]
#SBATCH -x c2,c3
#SBATCH -d afterok:41
#SBATCH --dependency=afterok:41:42:43
#SBATCH --dependency=afterany:41
#SBATCH --dependency=afternotok:41
#SBATCH --dependency=after:41
#SBATCH --dependency=after:41+10
#SBATCH --dependency=afterok:41,afterany:42
#SBATCH --dependency=afterok:41?afterok:42
#SBATCH --dependency=afterok:41_3
#SBATCH --array=1-4 --dependency=aftercorr:41
#SBATCH --dependency=afterok:41,42
#SBATCH --dependency=singleton -J nightly
#SBATCH --dependency=AfterOK:41
#SBATCH --begin=18:30
#SBATCH -b now+1hour
#SBATCH --begin=now+120
#SBATCH --begin=tomorrow
#SBATCH --begin=midnight
#SBATCH --begin=noon
#SBATCH --begin=2027-01-24
#SBATCH --begin=2027-01-24T08:00
#SBATCH --begin=2027-01-24T08:00:30
#SBATCH --begin="01/24/27 08:00"
#SBATCH --begin=4:30pm
#SBATCH --deadline=2027-02-01T12:00 -t 60
#SBATCH --hold
#SBATCH -H -J wait-for-me
#SBATCH --nice
#SBATCH --nice=50
#SBATCH --priority=100
#SBATCH --priority=0
#SBATCH --requeue
#SBATCH --no-requeue
#SBATCH --no-requeue
#SBATCH --requeue
#SBATCH --signal=USR1
#SBATCH --signal=USR2@90
#SBATCH --signal=B:TERM@120
#SBATCH --signal=SIGUSR1@30
#SBATCH --signal=10@60
#SBATCH --signal B:USR2@30
#SBATCH --mail-type=END,FAIL --mail-user=ana@example.org
#SBATCH --mail-type=ALL
#SBATCH --mail-type=NONE
#SBATCH --mail-type=TIME_LIMIT_90,TIME_LIMIT
#SBATCH --export=ALL
#SBATCH --export=NONE
#SBATCH --export=PATH,HOME,LANG=C
#SBATCH --export=ALL,THREADS=4
#SBATCH --get-user-env
#SBATCH --get-user-env=L
#SBATCH --propagate
#SBATCH --propagate=NONE
#SBATCH --propagate=STACK,NOFILE
#SBATCH --comment=weekly
#SBATCH --wckey=submitit
#SBATCH --tmp=10G
#SBATCH --tmp=2000
#SBATCH --contiguous -N 2
#SBATCH --switches=1@10:00
#SBATCH --threads-per-core=1
#SBATCH --ntasks-per-core=1
#SBATCH --ntasks-per-socket=2
#SBATCH --sockets-per-node=2 --cores-per-socket=8
#SBATCH -B 2:8:1
#SBATCH --hint=nomultithread
#SBATCH --hint=memory_bound
#SBATCH -m block:cyclic -N 2 -n 4
#SBATCH --distribution=cyclic
#SBATCH -S 1
#SBATCH --cpu-freq=high
#SBATCH --profile=task --acctg-freq=30
#SBATCH -k
#SBATCH --no-kill=off
#SBATCH --spread-job -N 2
#SBATCH --use-min-nodes -n 4
#SBATCH --delay-boot=5
#SBATCH --reboot
#SBATCH --wait-all-nodes=1
#SBATCH --time=60 --time-min=30
#SBATCH --prefer=fast
#SBATCH --mincpus=8
#SBATCH -n 2 -N 1 --mincpus=8
#SBATCH --power=level
#SBATCH --network=sn_all
#SBATCH --mem-bind=local
#SBATCH -Q -J hush
#SBATCH -v -J loud
#SBATCH --parsable
#SBATCH -W -J patient
#PCLUSTER --max-cost $5
#SBATCH -t 60
#PCLUSTER --max-cost 2.50
#SBATCH -t 60
#PCLUSTER --image=rocky9
#SBATCH -J a
#PCLUSTER --time 2h --mem 1.5G
#PCLUSTER --time 2h
#SBATCH --time=10
#PCLUSTER --deadline 2027-02-01T12:00
#SBATCH -t 10
#PCLUSTER --after-ok 41,42
#SBATCH -J next
#PCLUSTER --pool short
