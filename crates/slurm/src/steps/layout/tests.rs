use super::*;
use proptest::prelude::*;

fn rooms(cpus: &[u32]) -> Vec<Room> {
    let room = |(rank, cpus): (usize, &u32)| Room {
        rank: count(rank),
        node: format!("c{}", rank + 1),
        cpus: *cpus,
    };
    cpus.iter().enumerate().map(room).collect()
}

fn laid(cpus: &[u32], ask: &Ask) -> String {
    match lay_out(&rooms(cpus), ask) {
        Ok(layout) => {
            let node = |placed: &Placed| format!("{}:{:?}", placed.node, placed.tasks);
            layout.nodes.iter().map(node).collect::<Vec<_>>().join(" ")
        }
        Err(why) => why,
    }
}

#[test]
fn nothing_said_is_what_the_job_asked_for() {
    let ask = Ask { job_tasks: Some(4), cpus_per_task: 1, ..Ask::default() };
    assert_eq!(laid(&[2, 2], &ask), "c1:[0, 1] c2:[2, 3]");
    assert_eq!(laid(&[4, 4], &Ask::default()), "c1:[0] c2:[1]");
}

#[test]
fn every_node_gets_one_before_the_first_gets_more() {
    let ask = |tasks| Ask { tasks: Some(tasks), ..Ask::default() };
    assert_eq!(laid(&[4, 4], &ask(5)), "c1:[0, 1, 2, 3] c2:[4]");
    assert_eq!(laid(&[4, 4], &ask(3)), "c1:[0, 1] c2:[2]");
    assert_eq!(laid(&[4, 4], &ask(1)), "c1:[0]");
    assert_eq!(laid(&[4, 4], &ask(9)), "More processors requested than permitted");
}

#[test]
fn orders_of_tasks() {
    let ask = |order, tasks| Ask { tasks: Some(tasks), order, ..Ask::default() };
    assert_eq!(laid(&[4, 4], &ask(Order::Cyclic, 4)), "c1:[0, 2] c2:[1, 3]");
    assert_eq!(laid(&[1, 4], &ask(Order::Cyclic, 4)), "c1:[0] c2:[1, 2, 3]");
    assert_eq!(laid(&[4, 4], &ask(Order::Plane(2), 6)), "c1:[0, 1, 4, 5] c2:[2, 3]");
    let on = ["c2", "c1", "c2"].map(str::to_owned).to_vec();
    let arbitrary = Ask { on, order: Order::Arbitrary, ..Ask::default() };
    assert_eq!(laid(&[4, 4], &arbitrary), "c2:[0, 2] c1:[1]");
    assert_eq!(Order::parse("cyclic:block"), Some(Order::Cyclic));
    assert_eq!(Order::parse("plane=3"), Some(Order::Plane(3)));
    assert_eq!(Order::parse("zigzag"), None);
}

#[test]
fn nodes_can_be_named_left_out_and_counted() {
    let on = Ask { on: vec!["c2".into()], ..Ask::default() };
    assert_eq!(laid(&[4, 4], &on), "c2:[0]");
    let per_node = Ask { tasks_per_node: Some(1), tasks: Some(2), ..Ask::default() };
    assert_eq!(laid(&[4, 4, 4], &per_node), "c1:[0] c2:[1]");
    let not = Ask { not_on: vec!["c1".into()], ..Ask::default() };
    assert_eq!(laid(&[4, 4], &not), "c2:[0]");
    let relative = Ask { relative: 1, ..Ask::default() };
    assert_eq!(laid(&[4, 4], &relative), "c2:[0]");
    let many = Ask { nodes: Some((3, None)), ..Ask::default() };
    assert_eq!(laid(&[4, 4], &many), "Only allocated 2 nodes asked for 3");
    let wide = Ask { nodes: Some((2, None)), tasks: Some(1), ..Ask::default() };
    assert_eq!(laid(&[4, 4], &wide), "c1:[0]");
    let warned = lay_out(&rooms(&[4, 4]), &wide).unwrap().warning.unwrap();
    assert_eq!(warned, "Warning: can't run 1 processes on 2 nodes, setting nnodes to 1");
}

#[test]
fn cpus_of_a_task_count_and_overcommit_does_not() {
    let ask = Ask { tasks: Some(3), cpus_per_task: 2, ..Ask::default() };
    assert_eq!(laid(&[4, 4], &ask), "c1:[0, 1] c2:[2]");
    let over = Ask { tasks: Some(5), overcommit: true, ..Ask::default() };
    assert_eq!(laid(&[1, 1], &over), "c1:[0, 1, 2] c2:[3, 4]");
    let wide = Ask { tasks: Some(1), cpus_per_task: 8, ..Ask::default() };
    assert_eq!(laid(&[4, 4], &wide), "More processors requested than permitted");
}

#[test]
fn counts_are_written_as_slurm_does() {
    assert_eq!(runs([2, 2, 1].into_iter()), "2(x2),1");
    assert_eq!(runs([4].into_iter()), "4");
}

proptest! {
    #[test]
    fn every_task_is_somewhere_once(
        cpus in proptest::collection::vec(1_u32..6, 1..6), tasks in 1_u32..20, order in 0_u32..3,
    ) {
        let order = [Order::Block, Order::Cyclic, Order::Plane(2)][order as usize];
        let ask = Ask { tasks: Some(tasks), order, ..Ask::default() };
        if let Ok(layout) = lay_out(&rooms(&cpus), &ask) {
            let mut all: Vec<u32> = layout.nodes.iter().flat_map(|p| p.tasks.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..tasks).collect::<Vec<_>>());
            for placed in &layout.nodes {
                prop_assert!(placed.tasks.is_sorted());
                prop_assert!(placed.tasks.len() <= cpus[placed.rank as usize] as usize);
            }
        } else {
            prop_assert!(tasks > cpus.iter().sum());
        }
    }
}
