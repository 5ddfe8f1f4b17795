//! The large table: what `sbatch`, `srun` and `salloc` may ask for.
use super::Effect::{Refused, Silent, Used};
use super::Takes::{Maybe, Nothing, Value};
use super::{Opt, Table, Who, alias, option as o};

const B: Who = Who::SBATCH;
const R: Who = Who::SRUN;
const A: Who = Who::SALLOC;
const BR: Who = B.and(R);
const BA: Who = B.and(A);
const RA: Who = R.and(A);
const BRA: Who = Who::ALL;
const N: Who = Who::OURS;

const MANY: &str = "one cluster, nothing to choose";
const NODES_ALIKE: &str = "nodes are chosen by CPUs, memory, GPUs and features";
const BOUND_BY_CAGE: &str = "a job is bound to its own CPUs and GPUs already";
const NO_POWER: &str = "power and clock rates are the machine's own";
const ALWAYS_METERED: &str = "usage is always recorded";
const NO_TREE: &str = "no switch topology is known";

const OPTIONS: &[Opt] = &[
    // What the job needs
    o(BRA, "nodes", 'N', Value("MIN[-MAX]"), Used, "nodes"),
    o(BRA, "ntasks", 'n', Value("N"), Used, "tasks over all nodes: what srun starts"),
    o(BRA, "ntasks-per-node", '-', Value("N"), Used, "tasks on each node"),
    alias(BRA, "tasks-per-node", "ntasks-per-node", Value("N")),
    o(BRA, "cpus-per-task", 'c', Value("N"), Used, "CPUs for each task"),
    o(BRA, "mem", '-', Value("SIZE"), Used, "memory on each node: 16G, 512M; 0 is all of it"),
    o(BRA, "mem-per-cpu", '-', Value("SIZE"), Used, "memory for each CPU"),
    o(BRA, "mem-per-gpu", '-', Value("SIZE"), Used, "memory for each GPU"),
    o(BRA, "gpus", 'G', Value("[TYPE:]N"), Used, "GPUs of the whole job"),
    o(BRA, "gpus-per-node", '-', Value("[TYPE:]N"), Used, "GPUs on each node"),
    o(BRA, "gpus-per-task", '-', Value("[TYPE:]N"), Used, "GPUs for each task"),
    o(BRA, "cpus-per-gpu", '-', Value("N"), Used, "CPUs for each GPU"),
    o(BRA, "ntasks-per-gpu", '-', Value("N"), Used, "tasks for each GPU"),
    alias(BRA, "ntasks-per-tres", "ntasks-per-gpu", Value("N")),
    o(BRA, "gres", '-', Value("gpu[:TYPE]:N"), Used, "GPUs on each node, in other words"),
    o(BRA, "tmp", '-', Value("SIZE"), Used, "local scratch disk on each node"),
    o(BRA, "mincpus", '-', Value("N"), Used, "at least this many CPUs on each node"),
    o(BRA, "partition", 'p', Value("NAME,…"), Used, "pools, the first that fits is taken"),
    o(
        BRA,
        "constraint",
        'C',
        Value("A&B|C"),
        Used,
        "only on nodes with all, or one, of these features",
    ),
    o(BRA, "nodelist", 'w', Value("HOSTS"), Used, "the nodes must contain these"),
    o(BRA, "nodefile", 'F', Value("FILE"), Used, "as --nodelist, one a line"),
    o(BRA, "exclude", 'x', Value("HOSTS"), Used, "never on these nodes"),
    o(BRA, "exclusive", '-', Maybe("user"), Used, "the nodes are for this job alone"),
    o(BRA, "time", 't', Value("TIME"), Used, "limit: minutes, H:M:S, D-H:M:S, UNLIMITED"),
    o(BRA, "account", 'A', Value("NAME"), Used, "account that the cost is counted under"),
    o(BRA, "qos", 'q', Value("NAME"), Used, "a label; it changes nothing"),
    alias(N, "pool", "partition", Value("NAME,…")),
    o(N, "image", '-', Value("NAME"), Used, "image of its nodes"),
    // When it starts
    o(N, "after", '-', Value("ID,…"), Used, "start after these have ended"),
    o(N, "after-ok", '-', Value("ID,…"), Used, "start after these have ended well"),
    o(N, "after-notok", '-', Value("ID,…"), Used, "start after these have failed"),
    o(N, "after-start", '-', Value("ID,…"), Used, "start after these have started"),
    o(N, "max-cost", '-', Value("$"), Used, "never cost more than this"),
    o(N, "spot", '-', Maybe("yes|no|only"), Used, "spot machines"),
    o(B, "array", 'a', Value("RANGES"), Used, "many tasks of one script: 0-15, 1,3,7, 1-96%8"),
    o(BRA, "dependency", 'd', Value("WORDS"), Used, "afterok:41:42, afterany:41_3, singleton"),
    o(BR, "begin", 'b', Value("TIME"), Used, "not before: 16:00, now+1hour, 2026-11-24T08:00"),
    o(A, "begin", '-', Value("TIME"), Used, "not before: 16:00, now+1hour, 2026-11-24T08:00"),
    o(BRA, "deadline", '-', Value("TIME"), Used, "it must have ended by then"),
    o(BRA, "hold", 'H', Nothing, Used, "wait until `scontrol release`"),
    o(BRA, "nice", '-', Maybe("N"), Used, "let others go first"),
    o(BRA, "priority", '-', Value("N"), Used, "higher starts first (admins)"),
    o(B, "kill-on-invalid-dep", '-', Value("yes|no"), Used, "give it up when it can never start"),
    o(RA, "immediate", 'I', Maybe("SECONDS"), Used, "give up unless it starts within this"),
    // How it runs and ends
    o(BRA, "job-name", 'J', Value("NAME"), Used, "name of the job"),
    o(
        BR,
        "output",
        'o',
        Value("PATTERN"),
        Used,
        "%j job, %A array, %a task, %x name, %N node, %s step",
    ),
    o(BR, "error", 'e', Value("PATTERN"), Used, "where errors go (default: with the output)"),
    o(BR, "input", 'i', Value("FILE"), Used, "what it reads"),
    o(BR, "open-mode", '-', Value("append|truncate"), Used, "whether output files are emptied"),
    o(BRA, "chdir", 'D', Value("DIR"), Used, "working directory (default: this one)"),
    o(BR, "export", '-', Value("WORDS"), Used, "variables that go along: ALL, NONE, A,B=2"),
    o(B, "export-file", '-', Value("FILE|FD"), Used, "variables from a file, each ended by NUL"),
    o(BA, "get-user-env", '-', Maybe("L"), Used, "the environment of a login"),
    o(BRA, "signal", '-', Value("[B:]SIG[@SECONDS]"), Used, "a signal before the time limit"),
    o(B, "requeue", '-', Nothing, Used, "put back when its node is lost (the default)"),
    o(B, "no-requeue", '-', Nothing, Used, "never run a second time"),
    o(BRA, "comment", '-', Value("TEXT"), Used, "a note"),
    o(BR, "propagate", '-', Maybe("ALL|NONE|…"), Used, "soft limits that go along"),
    o(
        BRA,
        "mail-type",
        '-',
        Value("EVENTS"),
        Silent("no mail is sent"),
        "mail at BEGIN, END, FAIL",
    ),
    o(BRA, "mail-user", '-', Value("USER"), Silent("no mail is sent"), "whom to mail"),
    // Submitting
    o(B, "wrap", '-', Value("COMMAND"), Used, "a shell command instead of a script"),
    o(B, "parsable", '-', Nothing, Used, "print the bare id"),
    o(B, "wait", 'W', Nothing, Used, "return when it has ended, with its exit code"),
    o(BR, "test-only", '-', Nothing, Used, "only say when it would start"),
    o(BRA, "clusters", 'M', Value("NAME"), Used, "only this cluster's name, or all"),
    alias(BRA, "cluster", "clusters", Value("NAME")),
    o(BRA, "quiet", 'Q', Nothing, Used, "say nothing but errors"),
    o(BRA, "verbose", 'v', Nothing, Used, "say which options have no effect here"),
    o(BRA, "help", 'h', Nothing, Used, "this text"),
    o(BRA, "usage", '-', Nothing, Used, "all options in short"),
    o(BRA, "version", 'V', Nothing, Used, "the version that clients compare"),
    // Steps
    o(R, "label", 'l', Nothing, Used, "the task's number before each line"),
    o(R, "unbuffered", 'u', Nothing, Used, "do not wait for whole lines"),
    o(R, "pty", '-', Nothing, Used, "a terminal for task 0"),
    o(R, "multi-prog", '-', Nothing, Used, "a file says which task runs what"),
    o(R, "exact", '-', Nothing, Used, "only the CPUs that the step asks for"),
    o(R, "overlap", '-', Nothing, Used, "share CPUs with other steps"),
    o(R, "whole", '-', Nothing, Used, "all CPUs of the job's nodes"),
    o(R, "jobid", '-', Value("ID"), Used, "a step of this job"),
    o(R, "relative", 'r', Value("N"), Used, "from this node of the job on"),
    o(R, "distribution", 'm', Value("block|cyclic|…"), Used, "which task is on which node"),
    o(R, "cpu-bind", '-', Value("TYPE"), Used, "which CPUs a task is bound to"),
    o(R, "kill-on-bad-exit", 'K', Maybe("0|1"), Used, "end the step when a task fails"),
    o(R, "wait", 'W', Value("SECONDS"), Used, "end the step so long after its first task ended"),
    o(R, "mpi", '-', Value("TYPE"), Used, "none, pmi2; list shows all"),
    o(R, "disable-status", 'X', Nothing, Used, "Ctrl-C ends the step at once"),
    o(R, "quit-on-interrupt", '-', Nothing, Used, "Ctrl-C ends the step at once"),
    o(R, "task-prolog", '-', Value("PROGRAM"), Used, "run before each task"),
    o(R, "task-epilog", '-', Value("PROGRAM"), Used, "run after each task"),
    o(R, "prolog", '-', Value("PROGRAM"), Used, "run here before the step"),
    o(R, "epilog", '-', Value("PROGRAM"), Used, "run here after the step"),
    o(R, "overcommit", 'O', Nothing, Used, "more tasks than CPUs"),
    o(R, "oversubscribe", 's', Nothing, Used, "share CPUs with other steps"),
    o(A, "no-shell", '-', Nothing, Used, "only hold the nodes; scancel gives them back"),
    o(A, "bell", '-', Nothing, Used, "ring when the nodes are there"),
    o(A, "no-bell", '-', Nothing, Used, "do not ring"),
    o(A, "kill-command", 'K', Maybe("SIGNAL"), Used, "end the command when the nodes go"),
    o(A, "wait", 'W', Value("SECONDS"), Silent("an older name of --immediate"), ""),
    // Without effect here
    o(BRA, "acctg-freq", '-', Value("FREQ"), Silent(ALWAYS_METERED), ""),
    o(BRA, "profile", '-', Value("TYPES"), Silent(ALWAYS_METERED), ""),
    o(BRA, "cluster-constraint", '-', Value("LIST"), Silent(MANY), ""),
    o(BRA, "contiguous", '-', Nothing, Silent(NO_TREE), ""),
    o(BRA, "switches", '-', Value("N[@TIME]"), Silent(NO_TREE), ""),
    o(BRA, "spread-job", '-', Nothing, Silent(NO_TREE), ""),
    o(BRA, "use-min-nodes", '-', Nothing, Silent("the least number of nodes is always taken"), ""),
    o(BRA, "core-spec", 'S', Value("N"), Silent("no core is kept for the system"), ""),
    o(BRA, "thread-spec", '-', Value("N"), Silent("no thread is kept for the system"), ""),
    o(BRA, "cores-per-socket", '-', Value("N"), Silent(NODES_ALIKE), ""),
    o(BRA, "sockets-per-node", '-', Value("N"), Silent(NODES_ALIKE), ""),
    o(BRA, "threads-per-core", '-', Value("N"), Silent(NODES_ALIKE), ""),
    o(
        BRA,
        "threads",
        '-',
        Value("N"),
        Silent("how many srun starts at once is its own affair"),
        "",
    ),
    o(BRA, "extra-node-info", 'B', Value("S[:C[:T]]"), Silent(NODES_ALIKE), ""),
    o(BRA, "ntasks-per-core", '-', Value("N"), Silent(BOUND_BY_CAGE), ""),
    o(BRA, "ntasks-per-socket", '-', Value("N"), Silent(BOUND_BY_CAGE), ""),
    o(BRA, "hint", '-', Value("TYPE"), Silent(BOUND_BY_CAGE), ""),
    o(BRA, "gpu-bind", '-', Value("TYPE"), Silent(BOUND_BY_CAGE), ""),
    o(BRA, "tres-bind", '-', Value("TYPE"), Silent(BOUND_BY_CAGE), ""),
    o(BRA, "mem-bind", '-', Value("TYPE"), Silent(BOUND_BY_CAGE), ""),
    o(R, "accel-bind", '-', Value("TYPE"), Silent(BOUND_BY_CAGE), ""),
    o(BRA, "gres-flags", '-', Value("TYPE"), Silent(BOUND_BY_CAGE), ""),
    o(BRA, "cpu-freq", '-', Value("RANGE"), Silent(NO_POWER), ""),
    o(BRA, "gpu-freq", '-', Value("RANGE"), Silent(NO_POWER), ""),
    o(BRA, "power", '-', Value("FLAGS"), Silent(NO_POWER), ""),
    o(BRA, "delay-boot", '-', Value("MINUTES"), Silent("nodes boot when they are needed"), ""),
    o(BRA, "reboot", '-', Nothing, Silent("nodes start fresh from zero"), ""),
    o(BA, "distribution", 'm', Value("TYPE"), Silent("srun -m lays out tasks"), ""),
    o(BRA, "extra", '-', Value("TEXT"), Silent("a remark for plugins"), ""),
    o(BRA, "mcs-label", '-', Value("LABEL"), Silent("no labels are configured"), ""),
    o(BRA, "context", '-', Value("LABEL"), Silent("no security labels are configured"), ""),
    o(BRA, "network", '-', Value("TYPE"), Silent("no switch plugin is configured"), ""),
    o(BRA, "no-kill", 'k', Maybe("off"), Silent("a job whose node is lost is put back"), ""),
    o(BA, "overcommit", 'O', Nothing, Silent("srun -O does it; the job gets what it asks for"), ""),
    o(BA, "oversubscribe", 's', Nothing, Silent("jobs share nodes, never CPUs"), ""),
    o(BRA, "prefer", '-', Value("FEATURES"), Silent("a preference, not a demand"), ""),
    o(BRA, "time-min", '-', Value("TIME"), Silent("the whole time is always granted"), ""),
    o(
        BA,
        "wait-all-nodes",
        '-',
        Value("0|1"),
        Silent("a job starts when all its nodes are up"),
        "",
    ),
    o(BRA, "wckey", '-', Value("KEY"), Silent("accounts are what is counted"), ""),
    o(B, "ignore-pbs", '-', Nothing, Silent("#PBS lines are never read"), ""),
    o(R, "compress", '-', Maybe("TYPE"), Silent("only for --bcast"), ""),
    o(R, "bcast-exclude", '-', Value("PATHS"), Silent("only for --bcast"), ""),
    o(R, "send-libs", '-', Maybe("yes|no"), Silent("only for --bcast"), ""),
    o(R, "debugger-test", '-', Nothing, Silent("for tests of debuggers"), ""),
    o(R, "launch-cmd", '-', Nothing, Silent("for other launchers"), ""),
    o(R, "launcher-opts", '-', Value("TEXT"), Silent("for other launchers"), ""),
    o(R, "external-launcher", '-', Nothing, Silent("for other launchers"), ""),
    o(R, "interactive", '-', Nothing, Silent("for salloc's own use in Slurm"), ""),
    o(R, "msg-timeout", '-', Value("SECONDS"), Silent("messages wait as long as they must"), ""),
    o(R, "preserve-env", 'E', Nothing, Silent("older; variables are passed on"), ""),
    o(R, "resv-ports", '-', Maybe("N"), Silent("only for very old Open MPI"), ""),
    o(R, "slurmd-debug", '-', Value("LEVEL"), Silent("for developers of Slurm"), ""),
    // Would change the result
    o(BRA, "licenses", 'L', Value("NAMES"), Refused("no licenses are counted here"), ""),
    o(BRA, "reservation", '-', Value("NAMES"), Refused("there are no reservations here"), ""),
    o(B, "batch", '-', Value("FEATURES"), Refused("use --constraint for all nodes of the job"), ""),
    o(
        BRA,
        "bb",
        '-',
        Value("SPEC"),
        Refused("there are no burst buffers; --tmp asks for scratch"),
        "",
    ),
    o(
        BRA,
        "bbf",
        '-',
        Value("FILE"),
        Refused("there are no burst buffers; --tmp asks for scratch"),
        "",
    ),
    o(BRA, "container", '-', Value("PATH"), Refused("call apptainer or podman in the script"), ""),
    o(BRA, "container-id", '-', Value("ID"), Refused("call apptainer or podman in the script"), ""),
    o(BRA, "gid", '-', Value("GROUP"), Refused("jobs run with the submitter's own group"), ""),
    o(
        BRA,
        "uid",
        '-',
        Value("USER"),
        Refused("jobs run as who submits them: sudo -u USER sbatch"),
        "",
    ),
    o(BRA, "gpus-per-socket", '-', Value("[TYPE:]N"), Refused("use --gpus-per-node"), ""),
    o(
        BRA,
        "tres-per-task",
        '-',
        Value("LIST"),
        Refused("use --cpus-per-task and --gpus-per-task"),
        "",
    ),
    o(BRA, "tres-per-node", '-', Value("LIST"), Refused("use --gres or --gpus-per-node"), ""),
    o(BRA, "tres-per-job", '-', Value("LIST"), Refused("use --gpus"), ""),
    o(BRA, "tres-per-socket", '-', Value("LIST"), Refused("use --gpus-per-node"), ""),
    o(RA, "x11", '-', Maybe("TYPE"), Refused("X11 is not forwarded"), ""),
    o(
        R,
        "bcast",
        '-',
        Maybe("DEST"),
        Refused("files are shared; name the program by its shared path"),
        "",
    ),
    o(R, "het-group", '-', Value("N"), Refused("there are no heterogeneous jobs"), ""),
    o(R, "pack-group", '-', Value("N"), Refused("there are no heterogeneous jobs"), ""),
    o(R, "no-allocate", 'Z', Nothing, Refused("nothing runs without an allocation"), ""),
];

/// `sbatch`.
pub const SBATCH: Table = Table {
    command: "sbatch",
    operands: "[script [args...]]",
    purpose: "Submits a script; prints `Submitted batch job ID` and returns at once.",
    examples: "\
  sbatch -c 8 --mem 16G -t 2:00:00 job.sh sample1     options before the script, its arguments after
  sbatch --array=1-96%8 job.sh                        96 tasks, 8 at once; $SLURM_ARRAY_TASK_ID
  sbatch --dependency=afterok:41 b.sh                 when job 41 has ended well
  sbatch -n 4 --wrap 'srun ./program'                 a command instead of a script
Options can stand in the script, before its first command:   #SBATCH --time=2:00:00
The command line wins over SBATCH_* variables, which win over #SBATCH lines.
#PCLUSTER lines say what Slurm cannot:                        #PCLUSTER --max-cost $5
",
    wrong_option: 255,
    options: OPTIONS,
    who: B,
};

/// `#PCLUSTER` lines of a script that `sbatch` reads: what Slurm can say and what it cannot.
pub const DIRECTIVES: Table = Table { who: B.and(N), ..SBATCH };

/// `srun`.
pub const SRUN: Table = Table {
    command: "srun",
    operands: "program [args...]",
    purpose: "Runs tasks on the nodes of a job; outside of one it gets nodes first and gives them back.",
    examples: "\
  srun -n 4 ./program                in a job: 4 tasks on its nodes
  srun -N 2 -l hostname              outside: on two nodes, lines with the task's number
  srun --pty bash                    a shell on a node
",
    wrong_option: 255,
    options: OPTIONS,
    who: R,
};

/// `salloc`.
pub const SALLOC: Table = Table {
    command: "salloc",
    operands: "[command [args...]]",
    purpose: "Gets nodes, runs a command or your shell here, and gives them back when it ends.",
    examples: "\
  salloc -N 2 -t 1:00:00             a shell; srun inside uses the two nodes
  salloc -n 8 mpirun ./program       one command
",
    wrong_option: 255,
    options: OPTIONS,
    who: A,
};
