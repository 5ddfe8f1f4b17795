//! The fakes keep the promises that the laws rely on.
use pcluster_model::{LaunchId, Resources, Timestamp};
use pcluster_sim::cloud::{MachineId, SimProvider, Wish};
use pcluster_sim::net::SimNet;
use pcluster_sim::rng::Rng;
use std::collections::BTreeMap;

fn wish(count: u32) -> Wish {
    Wish {
        launch: LaunchId(1),
        count,
        pool: "main".into(),
        total: Resources { cpus: 2, ..Resources::default() },
        price: 3_600_001,
        spot: false,
    }
}

#[test]
fn a_bill_is_rounded_up_and_has_a_minimum() {
    let mut cloud = SimProvider::default();
    cloud.minimum_ms = 60_000;
    let id = cloud.make(Timestamp(0), &wish(1), 0, 0, false);
    cloud.ended(Timestamp(1_000), id, 0);
    // 60 s at 1.000000277… micro-dollars a millisecond: 60,000.0166… is rounded up.
    assert_eq!(cloud.bill(Timestamp(1_000), id), 60_001);
    let id = cloud.make(Timestamp(0), &wish(1), 0, 0, false);
    cloud.ended(Timestamp(7_200_000), id, 0);
    assert_eq!(cloud.bill(Timestamp(7_200_000), id), 7_200_002);
}

#[test]
fn a_launch_is_remembered_with_what_it_refused() {
    let mut cloud = SimProvider::default();
    let class = pcluster_core::event::LaunchErrorClass::NoCapacity;
    let refuse = BTreeMap::from([(1, class)]);
    let made = cloud.launch(Timestamp(0), &wish(3), 0, &refuse);
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 2);
    assert_eq!(cloud.answer(LaunchId(1)), Some(made));
    assert_eq!(cloud.living.len(), 2);
}

#[test]
fn a_deaf_machine_ends_when_it_was_told_often_enough() {
    let mut cloud = SimProvider::default();
    let id = cloud.make(Timestamp(0), &wish(1), 0, 0, false);
    cloud.machines.get_mut(&id).expect("it was just made").deaf = 1;
    assert!(!cloud.end_asked(Timestamp(1), id));
    assert!(cloud.end_asked(Timestamp(2), id));
    cloud.ended(Timestamp(2), id, 0);
    assert!(!cloud.end_asked(Timestamp(3), id), "what has ended is not ended again");
}

#[test]
fn a_late_list_hides_the_start_and_the_end_of_a_machine() {
    let mut cloud = SimProvider::default();
    let id = cloud.make(Timestamp(0), &wish(1), 0, 10, false);
    assert!(cloud.list(Timestamp(9)).is_empty());
    cloud.ended(Timestamp(20), id, 10);
    assert_eq!(cloud.list(Timestamp(29))[0].ended_at, None);
    assert_eq!(cloud.list(Timestamp(30))[0].ended_at, Some(Timestamp(20)));
}

#[test]
fn frames_of_a_connection_arrive_in_order_and_not_after_a_cut() {
    let mut net = SimNet::default();
    let conn = net.open(Timestamp(0), MachineId(1), (0, 1));
    assert_eq!(net.arrival(Timestamp(0), conn, true, 500), Some(Timestamp(500)));
    assert_eq!(net.arrival(Timestamp(1), conn, true, 3), Some(Timestamp(500)));
    assert_eq!(net.arrival(Timestamp(1), conn, false, 3), Some(Timestamp(4)));
    assert!(net.cut(conn) && !net.cut(conn));
    assert_eq!(net.arrival(Timestamp(2), conn, true, 3), None);
}

#[test]
fn draws_depend_on_seed_and_stream_alone() {
    let draws = |seed, stream| {
        let mut rng = Rng::new(seed, stream);
        (0..8).map(|_| rng.below(1_000_000)).collect::<Vec<u64>>()
    };
    assert_eq!(draws(7, 1), draws(7, 1));
    assert_ne!(draws(7, 1), draws(7, 2));
    assert_ne!(draws(7, 1), draws(8, 1));
}
