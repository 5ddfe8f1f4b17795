//! The options of `squeue`, `sinfo`, `scancel` and `scontrol`.
use super::Effect::{Refused, Silent, Used};
use super::Takes::{Maybe, MaybeNext, Nothing, Value};
use super::{Table, also, own as o};

const ONE_CLUSTER: &str = "one cluster, no federation";

/// `squeue`.
pub const SQUEUE: Table = Table::own(
    "squeue",
    "",
    "Shows jobs that wait, run or have just ended.",
    "\
  squeue --me                                your jobs
  squeue -j 41,42 -o '%i %T %r'              two jobs: id, state, reason
  squeue -t all --me -O JobArrayID,StateCompact,Reason
",
    &[
        o("account", 'A', Value("NAMES"), Used, "only these accounts"),
        o("all", 'a', Nothing, Used, "hidden partitions too"),
        o("array", 'r', Nothing, Used, "one line for each task of an array"),
        o("array-unique", '-', Nothing, Used, "as --array, without meta records"),
        o("clusters", 'M', Value("NAME"), Used, "only this cluster's name, or all"),
        o("expand-patterns", '-', Nothing, Used, "%j and its like in file names filled in"),
        o("federation", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("Format", 'O', Value("FIELDS"), Used, "fields by name: JobArrayID:12,State"),
        o("format", 'o', Value("FORMAT"), Used, "fields by letter: %i %.8T %M"),
        o("help", '-', Nothing, Used, "this text"),
        o("helpFormat", '-', Nothing, Used, "names of fields"),
        o("hide", '-', Nothing, Silent("no partition is hidden"), ""),
        o("iterate", 'i', Value("SECONDS"), Used, "again and again"),
        o("jobs", 'j', MaybeNext("IDS"), Used, "only these jobs"),
        o("json", '-', Maybe("VERSION"), Used, "as JSON"),
        o("licenses", 'L', Value("NAMES"), Silent("no licenses are counted here"), ""),
        o("local", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("long", 'l', Nothing, Used, "more columns"),
        o("me", '-', Nothing, Used, "only your jobs"),
        o("name", 'n', Value("NAMES"), Used, "only jobs with these names"),
        o("noconvert", '-', Nothing, Used, "sizes in their own unit"),
        o("nodelist", 'w', Value("HOSTS"), Used, "only jobs on these nodes"),
        also("nodes", "nodelist", Value("HOSTS")),
        o("noheader", 'h', Nothing, Used, "no headline"),
        o("only-job-state", '-', Nothing, Silent("states are always at hand"), ""),
        o("partition", 'p', Value("NAMES"), Used, "only these partitions"),
        o("priority", 'P', Nothing, Used, "a line for each partition that a job asks for"),
        o("qos", 'q', Value("NAMES"), Used, "only with these labels"),
        o("reservation", 'R', Value("NAME"), Used, "only in this reservation: there are none"),
        o("sibling", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("sort", 'S', Value("FIELDS"), Used, "order: -p,i"),
        o("start", '-', Nothing, Used, "when waiting jobs are expected to start"),
        o("states", 't', Value("STATES"), Used, "only in these states; all"),
        o("steps", 's', MaybeNext("IDS"), Used, "steps instead of jobs"),
        o("usage", '-', Nothing, Used, "all options in short"),
        o("user", 'u', Value("NAMES"), Used, "only jobs of these users"),
        also("users", "user", Value("NAMES")),
        o("verbose", 'v', Nothing, Used, "say which options have no effect here"),
        o("version", 'V', Nothing, Used, "the version that clients compare"),
        o("yaml", '-', Maybe("VERSION"), Refused("use --json"), ""),
    ],
);

/// `sinfo`.
pub const SINFO: Table = Table::own(
    "sinfo",
    "",
    "Shows partitions and nodes; nodes that can be started count as idle.",
    "\
  sinfo -N -l                                one line for each node
  sinfo -o '%P %l %D %c %m %G'               partitions with limits and sizes
",
    &[
        o("all", 'a', Nothing, Used, "hidden partitions too"),
        also("cluster", "clusters", Value("NAME")),
        o("clusters", 'M', Value("NAME"), Used, "only this cluster's name, or all"),
        o("dead", 'd', Nothing, Used, "only nodes that do not answer"),
        o("exact", 'e', Nothing, Used, "one line for each size of node"),
        o("federation", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("format", 'o', Value("FORMAT"), Used, "fields by letter: %P %l %D"),
        o("Format", 'O', Value("FIELDS"), Used, "fields by name"),
        o("future", 'F', Nothing, Silent("nodes that can be started are always shown"), ""),
        o("help", '-', Nothing, Used, "this text"),
        o("helpFormat", '-', Nothing, Used, "names of fields"),
        o("hide", '-', Nothing, Silent("no partition is hidden"), ""),
        o("iterate", 'i', Value("SECONDS"), Used, "again and again"),
        o("json", '-', Maybe("VERSION"), Used, "as JSON"),
        o("list-reasons", 'R', Nothing, Used, "why nodes are drained"),
        o("local", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("long", 'l', Nothing, Used, "more columns"),
        o("noconvert", '-', Nothing, Used, "sizes in their own unit"),
        o("Node", 'N', Nothing, Used, "one line for each node"),
        o("nodes", 'n', Value("HOSTS"), Used, "only these nodes"),
        o("noheader", 'h', Nothing, Used, "no headline"),
        o("partition", 'p', Value("NAMES"), Used, "only these partitions"),
        o("reservation", 'T', Nothing, Used, "reservations: there are none"),
        o("responding", 'r', Nothing, Used, "only nodes that answer"),
        o("sort", 'S', Value("FIELDS"), Used, "order"),
        o("states", 't', Value("STATES"), Used, "only nodes in these states"),
        o("summarize", 's', Nothing, Used, "one line for each partition"),
        o("usage", '-', Nothing, Used, "all options in short"),
        o("verbose", 'v', Nothing, Used, "say which options have no effect here"),
        o("version", 'V', Nothing, Used, "the version that clients compare"),
        o("yaml", '-', Maybe("VERSION"), Refused("use --json"), ""),
    ],
);

/// `scancel`.
pub const SCANCEL: Table = Table::own(
    "scancel",
    "[id[_task][.step] ...]",
    "Ends jobs, or sends them a signal.",
    "\
  scancel 41 42_3 43_[1-5]                   jobs, and tasks of arrays
  scancel -s USR1 41                         a signal to its steps; -b to the script, -f to both
  scancel --me -t PENDING                    your jobs that wait
",
    &[
        o("account", 'A', Value("NAME"), Used, "only of this account"),
        o("admin-comment", '-', Value("TEXT"), Silent("comments are the submitter's"), ""),
        o("batch", 'b', Nothing, Used, "the signal goes to the script's shell only"),
        o("clusters", 'M', Value("NAME"), Used, "only this cluster's name, or all"),
        o("cron", '-', Nothing, Silent("there are no scrontab jobs"), ""),
        o("ctld", '-', Nothing, Used, "ask the head (it is always asked)"),
        o("full", 'f', Nothing, Used, "the signal goes to the script and its steps"),
        o("help", '-', Nothing, Used, "this text"),
        o("hurry", 'H', Nothing, Silent("there are no burst buffers to stage out"), ""),
        o("interactive", 'i', Nothing, Used, "ask before each job"),
        also("jobname", "name", Value("NAME")),
        o("me", '-', Nothing, Used, "only your jobs"),
        o("name", 'n', Value("NAME"), Used, "only with this name"),
        o("nodelist", 'w', Value("HOSTS"), Used, "only on these nodes"),
        o("partition", 'p', Value("NAME"), Used, "only in this partition"),
        o("qos", 'q', Value("NAME"), Used, "only with this label"),
        o("quiet", 'Q', Nothing, Used, "nothing about jobs that have ended"),
        o("reservation", 'R', Value("NAME"), Used, "only in this reservation: there are none"),
        o("sibling", '-', Value("NAME"), Refused("one cluster, no federation"), ""),
        o("signal", 's', Value("SIGNAL"), Used, "send this: USR1, SIGUSR1, 10"),
        o("state", 't', Value("STATE"), Used, "only PENDING, RUNNING or SUSPENDED"),
        o("usage", '-', Nothing, Used, "all options in short"),
        o("user", 'u', Value("NAME"), Used, "only of this user"),
        o("verbose", 'v', Nothing, Used, "say what is done"),
        o("version", 'V', Nothing, Used, "the version that clients compare"),
        o("wckey", '-', Value("KEY"), Used, "only with this key: there are none"),
    ],
);

/// `scontrol`.
pub const SCONTROL: Table = Table::own(
    "scontrol",
    "command [words...]",
    "Shows and changes jobs, nodes and partitions.",
    "\
  scontrol show job 41                       everything about a job; -o on one line
  scontrol hold 41     scontrol release 41
  scontrol update jobid=41 timelimit=2:00:00 partition=long
  scontrol requeue 41                        scontrol suspend 41    scontrol resume 41
  scontrol show hostnames 'c[1-3]'           one name a line
",
    &[
        o("all", 'a', Nothing, Used, "hidden partitions too"),
        also("cluster", "clusters", Value("NAME")),
        o("clusters", 'M', Value("NAME"), Used, "only this cluster's name, or all"),
        o("details", 'd', Nothing, Used, "what each node gives to a job"),
        also("detail", "details", Nothing),
        o("federation", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("future", 'F', Nothing, Silent("nodes that can be started are always shown"), ""),
        o("help", 'h', Nothing, Used, "this text"),
        o("hide", '-', Nothing, Silent("no partition is hidden"), ""),
        o("json", '-', Maybe("VERSION"), Used, "as JSON"),
        o("local", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("oneliner", 'o', Nothing, Used, "each record on one line"),
        o("quiet", 'Q', Nothing, Used, "say less"),
        o("sibling", '-', Nothing, Silent(ONE_CLUSTER), ""),
        o("uid", 'u', Value("USER"), Refused("changes are made as who asks: sudo -u USER"), ""),
        o("usage", '-', Nothing, Used, "all options in short"),
        o("verbose", 'v', Nothing, Used, "say which options have no effect here"),
        o("version", 'V', Nothing, Used, "the version that clients compare"),
        o("yaml", '-', Maybe("VERSION"), Refused("use --json"), ""),
    ],
);
