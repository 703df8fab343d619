use std::cell::RefCell;
use std::net::TcpStream;
use std::rc::Rc;

use tokio::time::sleep;

use super::*;
use crate::config::listen::Listen;
use crate::config::plan::Plan;
use crate::link::Decoder;
use crate::link::descriptors::{self, Receiver};
use crate::link::inventory::Inventory;
use crate::parent::relay::Queue;
use crate::parent::reload::Vote;
use crate::parent::shutdown::StopReason;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Two workers that serve and one that does not, without their processes.
struct Server {
    workers: Workers,
    plans: Plans,
    listeners: Listeners,
    ballots: Ballots,
    shutdown: Shutdown,
    queues: [Rc<Queue>; 2],
}

/// What a worker does about an order: it takes this long, and votes or is silent.
type Behaviour = Option<(Duration, Vote)>;

impl Server {
    fn new() -> Self {
        let workers = Workers::new(3).expect("shared memory");
        let queues = [0, 2].map(|index| {
            let queue = Rc::new(Queue::default());
            workers.slots()[index].begin_serving(Rc::new(Inventory::default()), queue.clone());
            queue
        });
        let (ballots, shutdown) = (Ballots::default(), Shutdown::default());
        let (plans, listeners) = (Plans::new(Plan::default()), Listeners::default());
        Self { workers, plans, listeners, ballots, shutdown, queues }
    }

    /// Reloads while the workers behave like this; the number counts a worker's orders of that name.
    async fn reload(&self, behave: impl Fn(usize, &str, usize) -> Behaviour) -> Result<Vec<Done>, String> {
        let candidate = Candidate { reloaded: vec![("chat".to_owned(), 2)], ..Candidate::default() };
        self.reload_with(&candidate, behave).await
    }

    async fn reload_with(
        &self,
        candidate: &Candidate,
        behave: impl Fn(usize, &str, usize) -> Behaviour,
    ) -> Result<Vec<Done>, String> {
        let Self { workers, plans, listeners, ballots, shutdown, .. } = self;
        let deadline = Deadline::after(SECOND * 10);
        let transaction =
            Transaction { workers, plans, listeners, ballots, shutdown, decided: &|| (), deadline };
        tokio::select! {
            result = transaction.run(candidate) => result.map_err(|error| error.to_string()),
            _ = self.work(0, &behave) => unreachable!("it works for ever"),
            _ = self.work(1, &behave) => unreachable!("it works for ever"),
        }
    }

    async fn work(&self, at: usize, behave: impl Fn(usize, &str, usize) -> Behaviour) {
        let (worker, mut handled) = ([0, 2][at], 0);
        loop {
            sleep(MS).await;
            let orders = self.orders_of(at);
            let Some((name, step)) = orders.get(handled) else { continue };
            handled += 1;
            let count = orders[..handled].iter().filter(|(other, _)| other == name).count();
            if let Some((time, vote)) = behave(worker, name, count) {
                sleep(time).await;
                self.ballots.cast(1, *step, worker, vote);
            }
        }
    }

    fn orders_of(&self, at: usize) -> Vec<(String, u32)> {
        let mut decoder = Decoder::new(0);
        decoder.buffer.extend_from_slice(&self.queues[at].bytes());
        let mut orders = Vec::new();
        while let Some((tag, json)) = decoder.take().expect("messages of the link") {
            assert_eq!(tag, Tag::Order);
            let Order { action, step, .. } = serde_json::from_slice(&json).expect("an order");
            let name = format!("{action:?}");
            orders.push((name.split('(').next().unwrap_or_default().to_owned(), step));
        }
        orders
    }

    /// The orders that each worker got, which are the same for all.
    fn orders(&self) -> Vec<String> {
        assert_eq!(self.orders_of(0), self.orders_of(1));
        self.orders_of(0).into_iter().map(|(name, _)| name).collect()
    }
}

fn done() -> Behaviour {
    Some((MS, Vote::Done(Done { connections: 5, ..Done::default() })))
}

fn after(time: Duration) -> Behaviour {
    Some((time, Vote::Done(Done::default())))
}

#[tokio::test(start_paused = true)]
async fn all_workers_that_serve_commit_together() {
    let server = Server::new();
    let outcomes = server.reload(|_, _, _| done()).await;
    assert_eq!(outcomes.map(|done| done.len()), Ok(2));
    assert_eq!(server.orders(), ["Check", "Load", "Ready", "Pause", "Prepare", "Commit"]);
}

#[tokio::test(start_paused = true)]
async fn one_worker_that_rejects_makes_all_abort() {
    let server = Server::new();
    let plan = server.plans.current();
    let outcomes = server
        .reload(|worker, order, _| match (worker, order) {
            (2, "Prepare") => Some((MS, Vote::Rejected("no such handler".to_owned()))),
            _ => done(),
        })
        .await;
    assert_eq!(outcomes.map(drop), Err("worker 2: no such handler".to_owned()));
    assert_eq!(server.orders(), ["Check", "Load", "Ready", "Pause", "Prepare", "Abort"]);
    assert!(Rc::ptr_eq(&plan, &server.plans.current()));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_or_takes_too_long_before_the_decision_makes_all_abort() {
    let server = Server::new();
    let outcomes =
        server.reload(
            |worker, order, _| if (worker, order) == (0, "Load") { Some((MS, Vote::Died)) } else { done() },
        );
    let error = "worker 0 died meanwhile; the server's log says how";
    assert_eq!(outcomes.await.map(drop), Err(error.to_owned()));
    assert_eq!(server.orders(), ["Check", "Load", "Abort"]);

    let server = Server::new();
    let outcomes =
        server.reload(|worker, order, _| if (worker, order) == (2, "Load") { None } else { done() });
    let error = "worker 2 had not loaded the new code within 10s (--reload-timeout)";
    assert_eq!(outcomes.await.map(drop), Err(error.to_owned()));
    assert_eq!(server.orders(), ["Check", "Load", "Abort"]);
}

#[tokio::test(start_paused = true)]
async fn all_steps_share_one_deadline() {
    let server = Server::new();
    let begun = Instant::now();
    let outcomes = server.reload(|_, order, _| match order {
        "Load" => after(SECOND * 6),
        "Prepare" => after(SECOND * 6),
        _ => done(),
    });
    let error = "worker 0 had not run the hooks of the new code within 10s (--reload-timeout)";
    assert_eq!(outcomes.await.map(drop), Err(error.to_owned()));
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(server.orders(), ["Check", "Load", "Ready", "Pause", "Prepare", "Abort"]);
}

/// The others serve their clients meanwhile.
#[tokio::test(start_paused = true)]
async fn nobody_pauses_while_a_worker_is_in_a_long_callback() {
    let server = Server::new();
    let outcomes = server.reload(|worker, order, count| match (worker, order, count) {
        (2, "Ready", 1) => after(SECOND * 2),
        _ => done(),
    });
    assert_eq!(outcomes.await.map(|done| done.len()), Ok(2));
    // Worker 0 may have begun a callback in these two seconds, so it was asked again.
    assert_eq!(server.orders(), ["Check", "Load", "Ready", "Ready", "Pause", "Prepare", "Commit"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_busy_again_makes_the_others_continue_until_it_is_ready() {
    let server = Server::new();
    let outcomes = server.reload(|worker, order, count| match (worker, order, count) {
        // It answers when the others have continued. That answer does not count for a later order.
        (2, "Pause", 1) => after(SECOND / 2),
        _ => done(),
    });
    assert_eq!(outcomes.await.map(|done| done.len()), Ok(2));
    let tries = ["Check", "Load", "Ready", "Pause", "Resume", "Ready", "Pause", "Prepare", "Commit"];
    assert_eq!(server.orders(), tries);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_always_busy_rejects_the_reload_and_costs_the_others_little_time() {
    let server = Server::new();
    let outcomes =
        server.reload(|worker, order, _| if (worker, order) == (2, "Pause") { None } else { done() });
    let error = "worker 2 was too busy to pause within 10s (--reload-timeout), tries: 6";
    assert_eq!(outcomes.await.map(drop), Err(error.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn hooks_that_take_much_longer_than_those_of_the_others_reject_the_reload() {
    let (server, begun) = (Server::new(), Instant::now());
    let outcomes =
        server.reload(|worker, order, _| if (worker, order) == (2, "Prepare") { None } else { done() });
    let error =
        "worker 2 had not run the hooks of the new code within 1.0s, and the other workers waited for it";
    assert_eq!(outcomes.await.map(drop), Err(error.to_owned()));
    assert_eq!(begun.elapsed().as_secs(), 1);

    // Those of both take long: the second has as much time again.
    let server = Server::new();
    let outcomes = server.reload(|worker, order, _| match (worker, order) {
        (0, "Prepare") => after(SECOND * 3),
        (2, "Prepare") => after(SECOND * 5),
        _ => done(),
    });
    assert_eq!(outcomes.await.map(|done| done.len()), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_after_the_decision_changes_nothing() {
    let server = Server::new();
    let plan = server.plans.current();
    let outcomes = server.reload(|worker, order, _| match (worker, order) {
        (0, "Commit") => Some((MS, Vote::Died)),
        _ => done(),
    });
    assert_eq!(outcomes.await.map(|done| done.len()), Ok(1));
    assert!(!Rc::ptr_eq(&plan, &server.plans.current()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_aborts() {
    let server = Server::new();
    let stop = async {
        sleep(SECOND / 2).await;
        let reason = StopReason::Requested;
        server.shutdown.run(reason, &Workers::new(1).expect("shared memory"), SECOND, sleep(SECOND)).await
    };
    let (outcomes, stopped) = tokio::join!(server.reload(|_, _, _| None), stop);
    stopped.expect("no worker runs");
    assert_eq!(outcomes.map(drop), Err("the server stops".to_owned()));
    assert_eq!(server.orders(), ["Check", "Abort"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_is_waited_for_and_makes_the_reload_fail_if_it_does_not_serve() {
    let server = Server::new();
    server.workers.slots()[1].is_starting.set(true);
    let error = "a worker had not started within 10s (--reload-timeout); ask again when it serves";
    assert_eq!(server.reload(|_, _, _| done()).await.map(drop), Err(error.to_owned()));
    assert_eq!(server.orders(), [""; 0]);
}

/// A server whose workers can take descriptors, and a candidate that adds a listener. Not with paused time: a thread binds.
async fn with_listener() -> (Server, [Receiver; 2], Candidate, String) {
    let server = Server::new();
    let receivers = [0, 2].map(|index| {
        let (sender, receiver) = descriptors::channel().expect("a pair of sockets");
        server.workers.slots()[index].set_later(sender);
        receiver
    });
    let entry = Listen::parse("127.0.0.1:0").expect("it is valid");
    let next = server.listeners.next(vec![entry], Deadline::after(SECOND * 10)).await.expect("a free port");
    let listeners = next.plan(&[]);
    let address = listeners[0].settings.address.clone();
    let plan = Plan { listeners, ..Plan::default() };
    let candidate = Candidate { plan, listeners: RefCell::new(Some(next)), ..Candidate::default() };
    (server, receivers, candidate, address)
}

#[tokio::test]
async fn all_workers_get_a_new_listener_and_clients_can_connect_when_the_reload_commits() {
    let (server, receivers, candidate, address) = with_listener().await;
    let connects = || TcpStream::connect(&address).is_ok();
    let prepares = |_: usize, order: &str, _: usize| {
        assert!(order == "Commit" || !connects(), "{order}");
        done()
    };
    assert_eq!(server.reload_with(&candidate, prepares).await.map(|done| done.len()), Ok(2));
    assert!(connects());
    for receiver in receivers {
        let [descriptor] = <[_; 1]>::try_from(receiver.receive(1).expect("it was sent")).expect("one");
        let listener = std::net::TcpListener::from(descriptor);
        assert_eq!(listener.local_addr().expect("it is bound").to_string(), address);
    }
    let plan = server.plans.current();
    assert_eq!(server.listeners.sockets(&plan.listeners).expect("it is there").descriptors().count(), 1);
    assert_eq!(candidate.listening.take().added, [address]);
}

#[tokio::test]
async fn a_reload_that_is_rejected_closes_its_new_listener() {
    let (server, receivers, candidate, address) = with_listener().await;
    let rejects = |worker: usize, order: &str, _: usize| match (worker, order) {
        (2, "Prepare") => Some((MS, Vote::Rejected("no".to_owned()))),
        _ => done(),
    };
    let rejected = server.reload_with(&candidate, rejects).await;
    assert_eq!(rejected.map(drop), Err("worker 2: no".to_owned()));
    drop((candidate, receivers));
    // Without SO_REUSEADDR: nobody has the address any more.
    bind_exclusively(&address).expect("it is free");
    assert!(server.plans.current().listeners.is_empty());
}

#[tokio::test]
async fn a_listener_that_cannot_listen_rejects_the_reload_at_the_last_moment() {
    let (server, _receivers, candidate, address) = with_listener().await;
    // Between bind and listen, another program may take the port.
    let other = RefCell::new(None);
    let taken = |_: usize, order: &str, _: usize| {
        if order == "Prepare" && other.borrow().is_none() {
            other.replace(Some(std::net::TcpListener::bind(&address).expect("nobody listens there")));
        }
        done()
    };
    let error = server.reload_with(&candidate, taken).await.expect_err("the port is taken");
    assert!(error.contains(&format!("cannot listen on {address}: another program listens there")), "{error}");
    assert_eq!(server.orders().last().map(String::as_str), Some("Abort"));
    assert!(server.plans.current().listeners.is_empty());
}

#[tokio::test]
async fn a_worker_that_cannot_take_descriptors_rejects_the_reload() {
    let (server, receivers, candidate, _) = with_listener().await;
    drop(receivers);
    let error = server.reload_with(&candidate, |_, _, _| done()).await.expect_err("worker 0 has ended");
    assert_eq!(error, "worker 0 cannot get the new listening sockets");
    assert_eq!(server.orders(), ["Check", "Abort"]);
}

/// Fails if any other socket is bound there.
fn bind_exclusively(address: &str) -> rustix::io::Result<()> {
    use rustix::net::{AddressFamily, SocketType, bind, socket};
    let address: std::net::SocketAddr = address.parse().expect("an address");
    bind(socket(AddressFamily::INET, SocketType::STREAM, None)?, &address)
}
