//! The parts of a worker by themselves.

use std::os::unix::net::UnixStream;

use super::*;
use crate::config::plan::Plan;
use crate::link::broadcast::Broadcast;
use crate::link::orders::{Action, Order};
use crate::link::uplink::Uplink;
use crate::link::{Decoder, message};

#[tokio::test(start_paused = true)]
async fn admission_lets_the_next_client_in_when_one_has_left() {
    let admission = Admission::new(info(1), 1000, Some(2));
    let (first, _second) = (admission.admit().await, admission.admit().await);
    assert!(!admission.has_room());
    let third = {
        let admission = admission.clone();
        async move { admission.admit().await }
    };
    let mut third = std::pin::pin!(third);
    let waiting = tokio::time::timeout(SECOND, third.as_mut()).await;
    assert!(waiting.is_err(), "there is no room");
    drop(first);
    let _third = tokio::time::timeout(MOMENT, third).await.expect("there is room now");
    assert!(!admission.has_room());
}

#[tokio::test(start_paused = true)]
async fn admission_counts_the_clients_of_all_workers_and_its_own_open_files() {
    let info = info(2);
    let admission = Admission::new(info, 2, Some(10));
    info.scoreboard.slot(1).set_clients(9);
    let permit = admission.admit().await;
    assert!(!admission.has_room(), "10 in all");
    info.scoreboard.slot(1).set_clients(0);
    assert!(admission.has_room());
    let shared = Rc::new(permit);
    let copy = Permit::take(shared.clone());
    assert!(!admission.has_room(), "2 files");
    drop(shared);
    assert!(admission.has_room());
    drop(copy);
    assert_eq!(info.scoreboard.slot(0).clients(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_many_more_clients_than_another_is_ahead() {
    let info = info(2);
    let admission = Admission::new(info, 1000, None);
    let mut permits = Vec::new();
    for _ in 0..9 {
        assert!(!admission.is_ahead());
        permits.push(admission.admit().await);
    }
    assert!(admission.is_ahead());
    info.scoreboard.slot(1).set_clients(1);
    assert!(!admission.is_ahead());
}

#[tokio::test]
async fn the_parent_link_keeps_orders_and_finds_those_of_a_reload_among_them() {
    let (worker, mut parent) = UnixStream::pair().expect("a pair of sockets");
    let link = ParentLink::default();
    assert!(link.await_order(1, |_| ()).is_none(), "without a parent there is none");
    link.connect(Uplink::new(worker, 0, 1000).expect("a link"));
    let order = |transaction, action| Order { transaction, step: 1, action };
    link.push_order(order(2, Action::Load(Plan::default())));
    assert!(!link.is_overtaken(&order(1, Action::Prepare)));
    let commit = serde_json::to_vec(&order(1, Action::Commit)).expect("it is plain data");
    std::io::Write::write_all(&mut parent, &message(Tag::Order, &commit)).expect("it fits");
    let next = link.await_order(1, |message| match message {
        ParentMessage::Order(order) => link.push_order(*order),
        other => panic!("not sent: {other:?}"),
    });
    assert!(matches!(next, Some(Order { action: Action::Commit, .. })));
    assert!(link.is_overtaken(&order(2, Action::Ready)));
    assert!(matches!(link.next_order().await.action, Action::Load(_)));
}

#[tokio::test]
async fn global_broadcasts_are_numbered_and_carry_audience_source_op_and_payload() {
    LocalSet::new()
        .run_until(async {
            let (ours, mut parent) = UnixStream::pair().expect("a pair of sockets");
            let serving = (Registry::default(), Dispatch::nothing());
            let worker = Worker::new(&limits(|_| ()), info(2), 1000, serving).expect("a worker");
            worker.parent.connect(Uplink::new(ours, 0, 1000).expect("a link"));
            worker.broadcast(Some(3), op::TEXT, b"one", scope::GLOBAL);
            worker.broadcast(None, op::BINARY, b"two", scope::GLOBAL);
            worker.broadcast(None, op::BINARY, b"only here", scope::LOCAL);
            worker.parent.uplink().expect("it is connected").flush().expect("it fits");
            let mut decoder = Decoder::new(1000);
            let mut bytes = [0; 1000];
            let n = std::io::Read::read(&mut parent, &mut bytes).expect("they were sent");
            decoder.buffer.extend_from_slice(&bytes[..n]);
            for (number, source, op, payload) in [(1, 3, op::TEXT, b"one"), (2, 0, op::BINARY, b"two")] {
                let (tag, bytes) = decoder.take().expect("it is clean").expect("it is whole");
                let audience = Audience::Everyone;
                let expected = Broadcast { origin: 0, number, audience, source, op, payload };
                assert_eq!((tag, Broadcast::parse(&bytes)), (Tag::Broadcast, Some(expected)));
            }
            assert_eq!(decoder.take(), Ok(None));
        })
        .await;
}
