//! Scripts as users have them: modules, and an array of a thousand tasks that everybody watches.
use pcluster_tests::clients::{Face, have, setup};
use std::collections::BTreeMap;
use std::fs;

/// Where Debian's environment-modules are; other systems have them elsewhere.
const MODULES: &str = "/usr/share/modules/init/bash";

#[test]
fn a_script_loads_modules_as_it_would_after_a_login() {
    if !have(&["modulecmd"]) || !fs::exists(MODULES).unwrap() {
        return;
    }
    let face = Face::new("modules");
    let work = face.cluster().work();
    fs::create_dir_all(work.join("modules/counter")).unwrap();
    fs::create_dir_all(work.join("apps/bin")).unwrap();
    let module = format!(
        "#%Module1.0\nprepend-path PATH {0}/apps/bin\nsetenv COUNTER_HOME {0}/apps\n",
        work.display()
    );
    fs::write(work.join("modules/counter/2.1"), module).unwrap();
    face.asks("printf '#!/bin/sh\\necho counted by $COUNTER_HOME\\n' >apps/bin/counter; chmod +x apps/bin/counter");
    // Submitted from a shell that has modules, as every login shell of a site.
    fs::write(
        work.join("user.sh"),
        "#!/bin/bash\n#SBATCH --job-name=modules --mem=100M\n#SBATCH -o user.out\nmodule purge\n\
         module load counter/2.1\ncounter\nmodule list 2>&1 | grep -o counter/2.1\n\
         srun counter\n",
    )
    .unwrap();
    let expected = format!("counted by {}/apps\n", work.display());
    face.asks(&format!("source {MODULES}; module use $PWD/modules; sbatch --wait user.sh"));
    let all = format!("{expected}counter/2.1\n{expected}");
    assert_eq!(face.cluster().file("user.out"), all);
    // The script brings them along itself, with an environment of its own.
    face.asks(&format!(
        "sed -e '1a source {MODULES}; module use {0}/modules' -e '1a #SBATCH --export=NONE' user.sh >own.sh; \
         sbatch --wait -o own.out own.sh",
        work.display()
    ));
    assert_eq!(face.cluster().file("own.out"), all);
    face.to_zero();
}

#[test]
fn a_thousand_tasks_are_watched_from_the_first_to_the_last() {
    let face = Face::with("thousand", setup());
    let text = "echo $SLURM_ARRAY_TASK_ID >>done";
    let id = face
        .asks(&format!("sbatch --parsable --mem=50M -o /dev/null --array=1-1000 --wrap '{text}'"));
    let mut left = 1000;
    while left > 0 {
        // As pipelines poll: all of it each time, unfolded; never an error, never more than before.
        let now = face.asks(&format!(
            "squeue -h -r --me -t PD,R,CG,CF -o '%i %t' | grep -c '^{id}_' || true"
        ));
        let now: usize = now.parse().unwrap();
        assert!(now <= left, "{now} after {left}");
        left = now;
        // Folded, what waits is one row, the others have one each.
        let rows = face.asks("squeue -h --me");
        assert!(rows.lines().count() <= 13, "{rows}");
    }
    let books = face.asks(&format!("sacct -X -n -P -j {id} -o JobID,State,ExitCode"));
    let books: BTreeMap<&str, &str> = books.lines().filter_map(|row| row.split_once('|')).collect();
    assert_eq!(books.len(), 1000);
    for task in 1..=1000 {
        let key = format!("{id}_{task}");
        assert_eq!(books.get(key.as_str()), Some(&"COMPLETED|0:0"), "{key}");
    }
    let mut done: Vec<u32> =
        face.cluster().file("done").lines().map(|line| line.parse().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, (1..=1000).collect::<Vec<_>>(), "each ran once");
    face.to_zero();
}
