//! Connection state over a reload, through the exported hooks: one version of a type saves the state, another
//! version restores it or reports why it cannot.

mod fake_host;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use callsign_plugin::State;
use fake_host::{Client, Outcome};
use serde::{Deserialize, Serialize};

/// The state of the plugin's first version.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Session {
    nick: String,
    visits: u8,
    seats: Vec<Seat>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seat {
    row: u8,
}

impl State for Session {}

fn session() -> Session {
    Session { nick: "ann".into(), visits: 3, seats: vec![Seat { row: 1 }, Seat { row: 2 }] }
}

/// The saved bytes of a connection with that state.
fn saved() -> Vec<u8> {
    let old = Client::new(7);
    old.c().set_state(session());
    old.save::<Session>().bytes()
}

fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| _ = f())).expect_err("it panics");
    payload.downcast_ref::<String>().expect("a formatted message").clone()
}

/// The error of a new version of `Session` when it restores the bytes. The block scopes the type's name.
macro_rules! rejected {
    ($bytes:expr, $(#[$serde:meta])* { $($fields:tt)* }) => {{
        #[derive(Serialize, Deserialize)]
        $(#[$serde])*
        struct Session { $($fields)* }
        impl State for Session {}
        Client::restored::<Session>($bytes).map(|_| ()).expect_err("an incompatible state")
    }};
}

#[test]
fn an_unchanged_state_is_carried_over_and_the_old_generation_keeps_its_own() {
    let old = Client::new(7);
    old.c().state::<Session>().nick = "ann".into();
    let new = Client::restored::<Session>(&old.save::<Session>().bytes()).unwrap();
    new.c().state::<Session>().nick.push('a');
    assert_eq!(*new.c().state::<Session>(), Session { nick: "anna".into(), ..Session::default() });
    // The reload may still be rejected.
    assert_eq!(old.c().state::<Session>().nick, "ann");
}

#[test]
fn added_fields_get_their_defaults_and_removed_fields_are_dropped() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Session {
        #[serde(default = "calm")]
        mood: String,
        age: Option<u8>,
        #[serde(alias = "nick")]
        name: String,
        visits: f64,
    }
    fn calm() -> String {
        "calm".into()
    }
    impl State for Session {}

    let new = Client::restored::<Session>(&saved()).unwrap();
    let expected = Session { mood: "calm".into(), age: None, name: "ann".into(), visits: 3.0 };
    assert_eq!(new.c().try_state::<Session>().as_deref(), Some(&expected));
}

#[test]
fn a_rejection_names_type_and_field_and_gives_advice() {
    let bytes = saved();
    assert_eq!(
        rejected!(&bytes, { nick: String, mood: String }),
        "state `Session`, field `mood`: it is new and has no default; add #[serde(default)] to it (or \
         #[serde(alias = \"…\")] with its old name, if it was renamed)"
    );
    assert_eq!(
        rejected!(&bytes, { visits: String }),
        "state `Session`, field `visits`: invalid type: integer `3`, expected a string; keep the field's type, or \
         give what it has become a new name and #[serde(default)]"
    );
    assert_eq!(
        rejected!(&bytes, #[serde(deny_unknown_fields)] { nick: String, visits: u8 }),
        "state `Session`, field `seats`: unknown field `seats`, expected `nick` or `visits`; leave out \
         #[serde(deny_unknown_fields)]"
    );
}

#[test]
fn a_rejection_names_nested_fields() {
    #[derive(Serialize, Deserialize)]
    struct Seat {
        row: u8,
        price: u32,
    }
    #[derive(Serialize, Deserialize)]
    enum Row {
        A,
    }
    let bytes = saved();
    let reason = rejected!(&bytes, { seats: Vec<Seat> });
    assert!(reason.starts_with("state `Session`, field `seats[0].price`: it is new"), "{reason}");
    let reason = rejected!(&bytes, { seats: Vec<BTreeMap<String, Row>> });
    assert!(reason.starts_with("state `Session`, field `seats[0].row`: "), "{reason}");
}

#[test]
fn a_removed_variant_is_named() {
    #[derive(Serialize, Deserialize)]
    enum Old {
        Away(u8),
    }
    #[derive(Debug, Serialize, Deserialize)]
    enum New {
        Here,
    }
    impl State for Old {}
    impl State for New {}

    let old = Client::new(7);
    old.c().set_state(Old::Away(1));
    let reason = Client::restored::<New>(&old.save::<Old>().bytes()).map(|_| ()).unwrap_err();
    assert!(reason.contains("unknown variant `Away`, expected `Here`; keep the variant"), "{reason}");
}

#[test]
fn every_serde_type_is_restored() {
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Key {
        Unit,
        Tuple(i8, String),
        Struct { at: (u64, i64), is: Option<bool> },
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Point { x: f64, names: BTreeMap<u8, char> },
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
        Text(String),
        Float(f64),
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Flat {
        by_number: BTreeMap<u64, Key>,
        maybe: Option<i32>,
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Newtype(u128);
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Everything {
        keys: BTreeMap<Key, Newtype>,
        tuples: BTreeMap<(bool, char), i128>,
        floats: Vec<f64>,
        tagged: Tagged,
        untagged: Vec<Untagged>,
        #[serde(flatten)]
        flat: Flat,
        bytes: Vec<u8>,
        text: String,
        unit: (),
        array: [u16; 3],
        time: std::time::Duration,
        address: std::net::SocketAddr,
        result: Result<u8, String>,
    }
    impl State for Everything {}

    let key = Key::Struct { at: (u64::MAX, i64::MIN), is: None };
    let everything = Everything {
        keys: [
            (Key::Unit, Newtype(0)),
            (Key::Tuple(-1, "ä".into()), Newtype(u128::MAX)),
            (key.clone(), Newtype(1)),
        ]
        .into(),
        tuples: [((true, 'ß'), i128::MIN), ((false, 'x'), -1)].into(),
        floats: vec![f64::INFINITY, -0.0, f64::MIN_POSITIVE, 0.1],
        tagged: Tagged::Point { x: f64::NEG_INFINITY, names: [(3, 'c')].into() },
        untagged: vec![Untagged::Number(u64::MAX), Untagged::Text(String::new()), Untagged::Float(0.5)],
        flat: Flat { by_number: [(u64::MAX, key)].into(), maybe: None },
        bytes: (0..=255).collect(),
        text: "€".repeat(70_000),
        unit: (),
        array: [0, 1, u16::MAX],
        time: std::time::Duration::from_nanos(1_500_000_001),
        address: "[2001:db8::7]:80".parse().unwrap(),
        result: Err("no".into()),
    };
    let old = Client::new(7);
    old.c().set_state(everything.clone());
    let new = Client::restored::<Everything>(&old.save::<Everything>().bytes()).unwrap();
    assert_eq!(new.c().try_state::<Everything>().as_deref(), Some(&everything));

    // Checked separately, because NaN is not equal to itself.
    #[derive(Serialize, Deserialize)]
    struct Nan(f64, f32);
    impl State for Nan {}
    old.release();
    old.c().set_state(Nan(f64::NAN, f32::NAN));
    let new = Client::restored::<Nan>(&old.save::<Nan>().bytes()).unwrap();
    let nan = new.c().try_state::<Nan>().unwrap();
    assert!(nan.0.is_nan() && nan.1.is_nan());
}

#[test]
fn truncated_and_foreign_bytes_are_rejected() {
    let bytes = saved();
    for end in 0..bytes.len() {
        assert!(Client::restored::<Session>(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
    let reason = Client::restored::<Session>(b"{}").map(|_| ()).unwrap_err();
    assert!(reason.starts_with("state `Session`: it was saved in format 123"), "{reason}");
}

#[test]
fn without_a_declared_state_data_restarts_and_a_saved_state_is_dropped() {
    let plain = Client::new(7);
    assert_eq!(plain.save_no_state(), Outcome::NotMine);
    plain.c().set_data("anything");
    assert_eq!(plain.save_no_state(), Outcome::Restart);
    assert_eq!(plain.save::<Session>(), Outcome::Restart);

    let new = Client::new(8);
    new.restore_no_state(&saved()).unwrap();
    assert!(!new.has_data());
}

#[test]
fn data_of_another_plugin_is_kept_unchanged() {
    let client = Client::new(7);
    assert_eq!(client.save::<Session>(), Outcome::NotMine);
    let mut foreign = 7_u64;
    client.set_data_by_hand((&raw mut foreign).cast());
    assert_eq!((client.save::<Session>(), client.save_no_state()), (Outcome::NotMine, Outcome::NotMine));
    assert!(client.c().try_state::<Session>().is_none());
    assert_eq!(
        panic_of(|| client.c().state::<Session>().visits),
        "connection 7 has data already, of another plugin's or of another copy of this one; it has room \
         for one alone"
    );
    client.release();
    assert!(client.has_data());
}

#[test]
fn a_state_is_borrowed_once_at_a_time() {
    let client = Client::new(7);
    let guard = client.c().state::<Session>();
    let expected = "the state `Session` of connection 7 is borrowed already: a guard of c.state() is alive; end its \
                    block or drop() it before you ask for the next";
    assert_eq!(panic_of(|| client.c().state::<Session>().visits), expected);
    assert_eq!(panic_of(|| client.c().try_state::<Session>().is_some()), expected);
    assert_eq!(panic_of(|| client.c().set_state(session())), expected);
    assert_eq!(
        client.save::<Session>(),
        Outcome::Failed(
            "state `Session`: it is borrowed; a guard of c.state() was kept or forgotten, let it go".into()
        )
    );
    drop(guard);
    assert_eq!(client.c().state::<Session>().visits, 0);
}

#[test]
fn a_connection_has_data_or_a_state() {
    let client = Client::new(7);
    client.c().set_data(1_u8);
    assert_eq!(
        panic_of(|| client.c().set_state(session())),
        "connection 7 has data already, a `u8`: it has either data or a state; make that a part of `Session`"
    );
    client.release();
    client.c().set_state(session());
    let reason = panic_of(|| *client.c().set_data(1_u8));
    assert!(reason.starts_with("connection 7 has a state already, a `Session`: "), "{reason}");
    assert_eq!(client.c().data::<Session>(), None);
}

/// A state whose save fails or panics, depending on its content.
#[derive(Debug, Default)]
struct Faulty {
    save: &'static str,
}

impl Serialize for Faulty {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.save {
            "fails" => Err(serde::ser::Error::custom("a lock is held")),
            "panics" => panic!("serialize panics"),
            _ => serializer.serialize_str(self.save),
        }
    }
}

impl<'de> Deserialize<'de> for Faulty {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "cannot be restored" => Err(serde::de::Error::custom("too old")),
            _ => panic!("deserialize panics"),
        }
    }
}

impl State for Faulty {}

#[test]
fn a_failure_in_the_plugins_code_rejects_the_reload_with_its_reason() {
    let old = Client::new(7);
    old.c().state::<Faulty>().save = "fails";
    let reason = "state `Faulty` cannot be saved: a lock is held";
    assert_eq!(old.save::<Faulty>(), Outcome::Failed(reason.into()));
    old.c().state::<Faulty>().save = "panics";
    assert_eq!(old.save::<Faulty>(), Outcome::Failed("panicked: serialize panics (state.rs:1)".into()));

    old.c().state::<Faulty>().save = "cannot be restored";
    let bytes = old.save::<Faulty>().bytes();
    let new = Client::new(8);
    assert_eq!(new.restore::<Faulty>(&bytes), Err("state `Faulty`: too old".into()));
    old.c().state::<Faulty>().save = "is restored with a panic";
    let bytes = old.save::<Faulty>().bytes();
    assert_eq!(new.restore::<Faulty>(&bytes), Err("panicked: deserialize panics (state.rs:1)".into()));
    assert!(!new.has_data());
}

#[test]
fn a_state_is_restored_once() {
    let new = Client::restored::<Session>(&saved()).unwrap();
    let twice = new.restore::<Session>(&saved());
    assert_eq!(twice, Err("state `Session`: the connection has data already".into()));
    assert_eq!(*new.c().state::<Session>(), session());
}

thread_local!(static DROPPED: Cell<u32> = const { Cell::new(0) });

/// Counts its drops, and optionally panics in drop.
#[derive(Default, Serialize, Deserialize)]
struct Counted {
    panics: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
        assert!(!self.panics, "drop panics");
    }
}

impl State for Counted {}

#[test]
fn a_state_is_dropped_once() {
    let old = Client::new(7);
    old.c().set_state(Counted::default());
    let bytes = old.save::<Counted>().bytes();
    let new = Client::restored::<Counted>(&bytes).unwrap();
    assert_eq!(DROPPED.get(), 0);
    assert_eq!((old.release(), old.has_data(), DROPPED.get()), (None, false, 1));
    assert_eq!((old.release(), DROPPED.get()), (None, 1));

    new.c().set_state(Counted { panics: true });
    assert_eq!(DROPPED.get(), 2);
    assert_eq!(new.release(), Some("panicked: drop panics (state.rs:1)".into()));
    assert_eq!((new.has_data(), DROPPED.get()), (false, 3));
}

#[test]
fn a_state_without_default_can_be_set() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Named(String);
    impl State for Named {}
    let client = Client::new(7);
    assert!(client.c().try_state::<Named>().is_none());
    client.c().set_state(Named("ann".into()));
    client.c().set_state(Named("bob".into()));
    assert_eq!(client.c().try_state::<Named>().as_deref(), Some(&Named("bob".into())));
}
