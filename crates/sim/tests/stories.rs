//! Every story that was kept: a planted bug is still seen, what broke the product once breaks it no
//! more, and both bit for bit as before.
use pcluster_sim::plant::Plant;
use pcluster_sim::story::{self, Story, fewest};
use pcluster_sim::world::Mode;
use pcluster_sim::{check, run_seed, run_world};

#[test]
fn every_story_ends_as_it_is_written() {
    let names = story::names().expect("the folder of stories");
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        let story = story::read(&name).expect("a story");
        assert_eq!(story.play(Plant::Nothing), Ok(()), "{name} without its planted bug");
        if story.planted() != Plant::Nothing {
            let broke = story.play(story.planted()).expect_err(&name);
            assert_eq!((broke.number, &broke.words), (story.broke, &story.said), "{name}");
        }
        let hash = |story: &Story| {
            let mut world = story.world(story.planted());
            let _ = run_world(&mut world);
            world.trace.hash()
        };
        assert_eq!(hash(&story), hash(&story), "{name}");
    }
}

#[test]
fn a_failing_seed_shrinks_to_a_story_that_needs_all_that_is_left() {
    let plant = Plant::HeadsickAgent;
    let outcomes = (1..40).map(|seed| run_seed(seed, Mode::Safety, plant, check::all()));
    let mut broken = outcomes.filter_map(|outcome| Story::of(&outcome, plant));
    let long = broken.find(|story| story.broke == 7).expect("one breaks");
    let small = story::shrink(&long, 2_000);
    let broke = small.play(plant).expect_err("it still breaks");
    assert_eq!((broke.number, small.broke), (long.broke, long.broke));
    let asks = small.kept.asks.clone().unwrap();
    let strikes = small.kept.strikes.clone().unwrap();
    assert!(asks.len() <= 6 && strikes.len() <= 8, "{asks:?} {strikes:?}");
    for at in 0..strikes.len() {
        let mut fewer = strikes.clone();
        fewer.remove(at);
        let kept = story::Kept { strikes: Some(fewer), ..small.kept.clone() };
        let story = Story { kept, ..long.clone() };
        let same = story.play(plant).is_err_and(|broke| broke.number == long.broke);
        assert!(!same, "fault {} is not needed", strikes[at]);
    }
}

#[test]
fn the_fewest_are_found_within_a_number_of_tries() {
    let needs = |items: &[u32]| items.contains(&7) && items.contains(&31);
    let mut left = 1_000;
    assert_eq!(fewest((0..100).collect(), &mut left, needs), [7, 31]);
    let mut left = 3;
    let some = fewest((0..100).collect(), &mut left, needs);
    assert!(needs(&some) && left == 0);
    let mut left = 10;
    assert_eq!(fewest(vec![1, 2], &mut left, |_| true), Vec::<i32>::new());
}
