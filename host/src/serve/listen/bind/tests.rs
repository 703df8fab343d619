use std::net::TcpListener;

use super::super::Bound;
use super::*;

/// RFC 5737 reserves this address for documentation, so no machine has it.
const MISSING: &str = "192.0.2.1:80";

/// Binds a name that stands for these addresses, beside `bound`.
fn bind_name(addresses: &[&str], bound: &mut Vec<Assigned>) -> Result<(), String> {
    let resolved = addresses.iter().map(|address| address.parse().expect("an address"));
    let entry = Listen::parse("name:80").expect("it is valid");
    let next = Next { sockets: std::mem::take(bound), ..Next::default() };
    let held = HeldSockets::default();
    let mut binder = Binder { listen: &[], workers: None, held, is_reload: false, next };
    let result = binder.bind_resolved(0, &entry, resolved).map_err(|error| error.to_string());
    *bound = binder.next.sockets;
    result
}

fn listen(addresses: &[&str]) -> Vec<Listen> {
    addresses.iter().map(|address| Listen::parse(address).expect("it is valid")).collect()
}

/// A server that listens there.
fn server(addresses: &[&str]) -> Vec<Bound> {
    let sockets = bind(&listen(addresses), None).expect("they are free");
    (1..).zip(sockets).map(|(id, socket)| Bound::new(id, socket).expect("new")).collect()
}

/// What the server does with new entries: the ids of sockets that it keeps, None for new ones.
fn reloaded(server: &[Bound], addresses: &[&str]) -> Result<(Vec<Option<u32>>, Next), String> {
    let held = server.iter().filter_map(Bound::hold).collect();
    let next = bind_next(&listen(addresses), None, held).map_err(|error| error.to_string())?;
    let kept = |assigned: &Assigned| match assigned.socket {
        Socket::Kept(id) => Some(id),
        Socket::New { .. } => None,
    };
    Ok((next.sockets.iter().map(kept).collect(), next))
}

#[test]
fn a_name_is_served_on_the_addresses_that_the_machine_has() {
    let mut bound = Vec::new();
    assert_eq!(bind_name(&[MISSING, "127.0.0.1:0", "192.0.2.1:81"], &mut bound), Ok(()));
    assert_eq!(bound.len(), 1);
    let refused = "cannot listen on 192.0.2.1:80: this machine has no such address; choose another address with --listen";
    assert_eq!(bind_name(&[MISSING, "192.0.2.1:81"], &mut bound), Err(refused.to_owned()));
}

#[test]
fn an_address_is_bound_once_however_often_it_is_listed() {
    let mut bound = Vec::new();
    assert_eq!(bind_name(&["127.0.0.1:0", "127.0.0.1:0"], &mut bound), Ok(()));
    let address = bound[0].settings.address.clone();
    assert_eq!(bind_name(&[&address, MISSING, &address], &mut bound), Ok(()));
    assert_eq!(bound.len(), 1);
    let wildcard = address.replace("127.0.0.1", "0.0.0.0");
    let refused = format!("{wildcard} includes {address}, the address of another --listen; keep one of them");
    assert_eq!(bind_name(&[&wildcard], &mut bound), Err(refused));

    bound.clear();
    assert_eq!(bind_name(&["0.0.0.0:0"], &mut bound), Ok(()));
    let included = bound[0].settings.address.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(bind_name(&[&included], &mut bound), Ok(()));
    assert_eq!(bound.len(), 1);
}

#[test]
fn an_address_of_another_program_is_refused_although_the_name_has_others() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = other.local_addr().expect("it is bound").to_string();
    let refused = format!(
        "cannot listen on {taken}: another program listens there; choose another address with --listen"
    );
    assert_eq!(bind_name(&[MISSING, &taken, "127.0.0.2:0"], &mut Vec::new()), Err(refused.clone()));
    let error = reloaded(&server(&["127.0.0.1:0"]), &["127.0.0.1:0", &taken]).expect_err("it is taken");
    assert_eq!(error, refused);
}

#[test]
fn a_reload_keeps_the_sockets_whose_addresses_stay_also_those_with_any_port() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let unix = format!("unix:{}", folder.path().join("a.sock").display());
    let server = server(&["127.0.0.1:0", &unix, "127.0.0.1:0"]);
    let first = server[0].settings.address.clone();
    let kept = |addresses: &[&str]| reloaded(&server, addresses).map(|(kept, _)| kept);
    assert_eq!(kept(&[&unix, "127.0.0.1:0", "127.0.0.1:0"]), Ok(vec![Some(2), Some(1), Some(3)]));
    assert_eq!(kept(&["127.0.0.1:0"]), Ok(vec![Some(1)]));
    assert_eq!(kept(&[&first, "127.0.0.1:0"]), Ok(vec![Some(1), Some(3)]), "by its port");
    assert_eq!(kept(&["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"]), Ok(vec![Some(1), Some(3), None]));
    let with_mode = format!("{unix}?mode=600");
    let (kept, next) = reloaded(&server, &[&with_mode]).expect("it is the same socket");
    assert_eq!(kept, [Some(2)]);
    assert_ne!(next.sockets[0].about.permissions, server[1].about.permissions);
}

#[test]
fn nobody_connects_to_a_new_socket_before_it_listens() {
    let server = server(&["127.0.0.1:0"]);
    let (_, next) = reloaded(&server, &["127.0.0.2:0"]).expect("it is free");
    let address = &next.sockets[0].settings.address;
    std::net::TcpStream::connect(address).expect_err("it does not listen");
    next.sockets[0].listen().expect("nobody else has it");
    std::net::TcpStream::connect(address).expect("it listens");
}

#[test]
fn a_reload_that_is_rejected_removes_the_file_of_its_new_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("b.sock");
    let server = server(&["127.0.0.1:0"]);
    let (_, next) = reloaded(&server, &[&format!("unix:{}", path.display())]).expect("it is free");
    assert!(path.exists());
    drop(next);
    assert!(!path.exists());
}

#[test]
fn an_address_that_includes_a_removed_one_gets_its_port() {
    for (old, new) in [("127.0.0.1:0", "0.0.0.0"), ("0.0.0.0:0", "127.0.0.1")] {
        let server = server(&[old]);
        let port = server[0].settings.address.rsplit_once(':').expect("a port").1.to_owned();
        let (kept, next) = reloaded(&server, &[&format!("{new}:{port}")]).expect("both are the server's");
        assert_eq!(kept, [None]);
        next.sockets[0].listen().expect("both are the server's");
        drop(server);
        drop(next.sharing);
        std::net::TcpStream::connect(format!("127.0.0.1:{port}")).expect("the new one listens");
        let taken = reloaded(&[], &[&format!("{new}:{port}")]).expect_err("it is that of another server");
        assert!(taken.contains("another program listens there"), "{taken}");
    }
}

#[test]
fn a_socket_of_systemd_that_was_not_passed_needs_a_restart() {
    let server = server(&["127.0.0.1:0"]);
    let (kept, next) = reloaded(&server, &["127.0.0.1:0", "systemd:web"]).expect("the rest can be used");
    assert_eq!(kept, [Some(1)]);
    assert_eq!(next.unavailable, ["systemd:web"]);
}
