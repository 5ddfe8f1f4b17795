use super::*;

const TABLES: [&Table; 8] = [&SBATCH, &SRUN, &SALLOC, &SCANCEL, &SQUEUE, &SINFO, &SCONTROL, &SACCT];

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn read(table: &Table, line: &str, order: Order) -> String {
    match parse(table, &words(line), order) {
        Ok(found) => {
            let said = found.said.iter().map(|said| match &said.value {
                Some(value) => format!("{}={value}", said.option.name),
                None => said.option.name.to_owned(),
            });
            let mut said: Vec<String> = said.collect();
            if !found.rest.is_empty() {
                said.push(format!("| {}", found.rest.join(" ")));
            }
            said.join(" ")
        }
        Err(refusal) => format!("{}{}", refusal.text(), refusal.code),
    }
}

#[test]
fn every_option_of_real_slurm_has_a_row() {
    let mut seen = 0;
    for line in include_str!("names.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut names = line.split(' ');
        let command = names.next().unwrap();
        let table = TABLES.into_iter().find(|table| table.command == command).unwrap();
        for name in names {
            let long = name.trim_end_matches(['=', '?']);
            let option = table.long(long).unwrap_or_else(|| panic!("{command} lacks --{long}"));
            let right = match name.chars().last() {
                Some('=') => matches!(option.takes, Takes::Value(_)),
                Some('?') => matches!(option.takes, Takes::Maybe(_) | Takes::MaybeNext(_)),
                _ => option.takes == Takes::Nothing,
            };
            assert!(right, "{command} --{name}: {:?}", option.takes);
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen}");
}

#[test]
fn names_and_letters_are_given_once() {
    for table in TABLES {
        let mut longs: Vec<&str> = table.options().map(|option| option.long).collect();
        let mut shorts: Vec<char> = table.options().filter_map(|option| option.short).collect();
        for option in table.options() {
            let own = table.long(option.name).expect(option.name);
            assert_eq!(own.name, own.long, "{}: {} leads to an alias", table.command, option.long);
        }
        let (long, short) = (longs.len(), shorts.len());
        longs.sort_unstable();
        longs.dedup();
        shorts.sort_unstable();
        shorts.dedup();
        assert_eq!((longs.len(), shorts.len()), (long, short), "{}", table.command);
    }
}

#[test]
fn words_are_read_as_getopt_reads_them() {
    let stop = Order::StopAtFirst;
    assert_eq!(
        read(
            &SBATCH,
            "-n4 -c 2 --mem=4G --time 5 -vv --exclusive --nice=3 job.sh -x --bogus",
            stop
        ),
        "ntasks=4 cpus-per-task=2 mem=4G time=5 verbose verbose exclusive nice=3 | job.sh -x --bogus"
    );
    assert_eq!(read(&SBATCH, "--no-k -k --part=a -- -x", stop), "no-kill no-kill partition=a | -x");
    assert_eq!(read(&SBATCH, "-Hkoff -J x", stop), "hold no-kill=off job-name=x");
    assert_eq!(read(&SBATCH, "-J=x - x", stop), "job-name==x | - x");
    let permute = Order::Permute;
    assert_eq!(read(&SCANCEL, "41 -f -s 15", permute), "full signal=15 | 41");
    assert_eq!(read(&SQUEUE, "-h -j 41 -o %i", permute), "noheader jobs=41 format=%i");
    assert_eq!(read(&SQUEUE, "--jobs=41,42 --users=ana -r", permute), "jobs=41,42 user=ana array");
    assert_eq!(read(&SBATCH, "--help --bogus", stop), "help");
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_the_c_library() {
    insta::assert_snapshot!(read(&SBATCH, "--bogus", Order::StopAtFirst), @r#"
    sbatch: unrecognized option '--bogus'
    Try "sbatch --help" for more information
    255
    "#);
    insta::assert_snapshot!(read(&SBATCH, "--cpu-per-task=4", Order::StopAtFirst), @r#"
    sbatch: unrecognized option '--cpu-per-task=4'
    Try "sbatch --help" for more information
    hint: did you mean `--cpus-per-task`?
    255
    "#);
    insta::assert_snapshot!(read(&SBATCH, "--ti=5", Order::StopAtFirst), @r#"
    sbatch: option '--ti=5' is ambiguous; possibilities: '--time' '--time-min'
    Try "sbatch --help" for more information
    255
    "#);
    insta::assert_snapshot!(read(&SBATCH, "-Z", Order::StopAtFirst), @r#"
    sbatch: invalid option -- 'Z'
    Try "sbatch --help" for more information
    255
    "#);
    insta::assert_snapshot!(read(&SQUEUE, "--me=1", Order::Permute), @r#"
    squeue: option '--me' doesn't allow an argument
    Try "squeue --help" for more information
    1
    "#);
}

#[test]
fn variables_are_options_too() {
    let variable = |name: &str| match name {
        "SBATCH_TIMELIMIT" => Some("5".to_owned()),
        "SBATCH_REQUEUE" => Some("0".to_owned()),
        "SBATCH_EXCLUSIVE" => Some(String::new()),
        _ => None,
    };
    let pairs = [
        ("SBATCH_TIMELIMIT", "time"),
        ("SBATCH_REQUEUE", "requeue"),
        ("SBATCH_EXCLUSIVE", "exclusive"),
    ];
    let words = from_environment(&SBATCH, &pairs, variable);
    let names: Vec<&str> = words.said.iter().map(|said| said.option.long).collect();
    assert_eq!(names, ["time", "exclusive"]);
    assert_eq!(words.value("time"), Some("5"));
}

#[test]
fn helps_show_every_option_and_no_line_is_wide() {
    for table in TABLES {
        let (help, usage) = (help(table), usage(table));
        for option in table.options().filter(|option| option.long == option.name) {
            assert!(usage.contains(&format!("--{}", option.long)), "{}", option.long);
            assert!(help.contains(&format!("--{}", option.long)), "{}", option.long);
        }
        let wide = help.lines().chain(usage.lines()).find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{}", table.command);
    }
}

proptest::proptest! {
    #[test]
    fn no_line_makes_it_panic(line in proptest::collection::vec("-{0,2}[a-zA-Z=é ]{0,8}", 0..8)) {
        for table in TABLES {
            let _ = parse(table, &line, Order::Permute);
            let _ = parse(table, &line, Order::StopAtFirst);
        }
    }
}
