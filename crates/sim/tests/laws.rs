//! The laws over many seeds, and every checker against the bug that was planted for it.
use pcluster_sim::check;
use pcluster_sim::cli::{mixed, run_range};
use pcluster_sim::plant::Plant;
use pcluster_sim::world::Mode;
use pcluster_sim::{replay_command, run_seed};

/// A planted bug must be seen within this many seeds.
const SEEDS: u64 = 40;

#[test]
fn five_hundred_seeds_keep_every_law() {
    let sweep = run_range(1..501, 2, Plant::Nothing, true, mixed);
    assert!(sweep.failed.is_empty(), "{}", sweep.verdict(Plant::Nothing));
    assert_eq!(sweep.seeds, 500);
    // A world in which little happens proves little.
    assert!(sweep.figures.runs > 5_000, "{} runs", sweep.figures.runs);
    let kinds = pcluster_sim::faults::Kind::ALL.len();
    assert_eq!(sweep.figures.faults.len(), kinds, "{:?}", sweep.figures.faults);
}

/// Seeds beyond the first five hundred that found something, and what it was.
const FOUND: [(u64, Mode, &str); 1] =
    [(1929, Mode::Liveness, "two of three nodes lost at once were billed for ever")];

#[test]
fn seeds_that_found_something_find_it_no_more() {
    for (seed, mode, what) in FOUND {
        let verdict = run_seed(seed, mode, Plant::Nothing, check::all()).verdict;
        assert_eq!(verdict, Ok(()), "seed {seed}: {what}");
    }
}

/// Finds a seed on which the checker of `law` fires under the plant, and is silent without it.
fn caught(plant: Plant, law: u8, mode: Mode) {
    for seed in 1..=SEEDS {
        let Err(violation) = run_seed(seed, mode, plant, check::only(law)).verdict else {
            continue;
        };
        if violation.law != law {
            continue;
        }
        let sound = run_seed(seed, mode, Plant::Nothing, check::only(law)).verdict;
        assert_eq!(sound, Ok(()), "seed {seed} breaks law {law} by itself");
        return;
    }
    panic!("the checker of law {law} has not seen {plant:?} in {SEEDS} seeds");
}

#[test]
fn law_1_sees_processes_that_outlive_their_reported_end() {
    caught(Plant::EndsTooEarly, 1, Mode::Safety);
}

#[test]
fn law_2_sees_an_order_that_is_spawned_twice() {
    caught(Plant::DoubleStart, 2, Mode::Safety);
}

#[test]
fn law_2_sees_two_attempts_of_one_task_side_by_side() {
    caught(Plant::EndsTooEarly, 2, Mode::Safety);
}

#[test]
fn law_3_sees_an_acknowledged_job_that_a_crash_loses() {
    caught(Plant::LostSubmit, 3, Mode::Safety);
}

#[test]
fn law_4_sees_strays_that_nobody_ends() {
    caught(Plant::DeafToStrays, 4, Mode::Safety);
}

#[test]
fn law_5_sees_a_micro_dollar_too_much() {
    caught(Plant::Overcharge, 5, Mode::Safety);
}

#[test]
fn law_6_sees_machines_that_never_go() {
    caught(Plant::NeverEnds, 6, Mode::Liveness);
}

#[test]
fn law_7_sees_a_machine_more_than_the_pool_may_have() {
    caught(Plant::OneMore, 7, Mode::Safety);
}

#[test]
fn law_7_sees_spend_above_the_budget() {
    caught(Plant::TenfoldPrice, 7, Mode::Safety);
}

#[test]
fn law_8_sees_a_row_that_was_not_written() {
    caught(Plant::LostRow, 8, Mode::Safety);
}

#[test]
fn law_8_sees_a_gap_in_the_log() {
    caught(Plant::LostEvent, 8, Mode::Safety);
}

#[test]
fn law_9_sees_an_effect_that_the_marks_missed() {
    caught(Plant::LostEffect, 9, Mode::Safety);
}

#[test]
fn law_10_holds_and_sees_what_the_seed_does_not_decide() {
    for seed in 1..=10 {
        assert_eq!(check::same_trace(seed, mixed(seed), Plant::Nothing), Ok(()));
    }
    let seen = (1..=3).any(|seed| check::same_trace(seed, mixed(seed), Plant::Unseeded).is_err());
    assert!(seen, "two runs of one seed with unseeded delays gave the same trace");
}

#[test]
fn a_failing_seed_names_the_one_command_that_replays_it() {
    let sweep = run_range(1..41, 2, Plant::NeverEnds, false, |_| Mode::Liveness);
    let first = sweep.failed.first().expect("a plant that no checker sees");
    let command = replay_command(first.seed, first.mode, Plant::NeverEnds);
    assert!(sweep.verdict(Plant::NeverEnds).contains(&command));
    assert!(command.ends_with("--mode liveness --plant never-ends"), "{command}");
    let again = run_seed(first.seed, first.mode, Plant::NeverEnds, check::all());
    assert_eq!(again.verdict, first.verdict);
}
