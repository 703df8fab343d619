//! The state of a connection in each variant: one struct per variant, to be compared with the first.

use callsign_plugin::Connection;
#[cfg(not(any(feature = "none", feature = "data")))]
pub use declared::*;
#[cfg(any(feature = "none", feature = "data"))]
pub use undeclared::*;

#[cfg(not(any(feature = "none", feature = "data")))]
mod declared {
    #[cfg(any(feature = "fails", feature = "panics"))]
    use serde::Deserializer;
    #[cfg(feature = "unsaved")]
    use serde::Serializer;
    use serde::{Deserialize, Serialize};

    use super::Connection;

    callsign_plugin::plugin!(name = "state", state = Session, shared = crate::Room);

    /// The state, and `set` of its fields.
    macro_rules! session {
        ({ $($(#[$serde:meta])* $field:ident: $type:ty),* }) => {
            #[derive(Debug, Default, Serialize, Deserialize)]
            struct Session {
                $($(#[$serde])* $field: $type),*
            }

            pub fn set(c: &Connection, field: &str, value: &str) -> Result<(), String> {
                let mut session = c.state::<Session>();
                match field {
                    $(stringify!($field) => session.$field.set(value),)*
                    _ => Err(format!("no field `{field}` in {session:?}")),
                }
            }
        };
    }

    #[cfg(not(any(
        feature = "added",
        feature = "added_no_default",
        feature = "removed",
        feature = "retyped",
        feature = "fails",
        feature = "panics",
        feature = "unsaved"
    )))]
    session!({ nick: String, count: u32 });

    #[cfg(feature = "added")]
    session!({ nick: String, count: u32, #[serde(default = "calm")] mood: String });

    #[cfg(feature = "added")]
    fn calm() -> String {
        "calm".to_owned()
    }

    #[cfg(feature = "added_no_default")]
    session!({ nick: String, count: u32, mood: String });

    #[cfg(feature = "removed")]
    session!({ count: u32 });

    #[cfg(feature = "retyped")]
    session!({ nick: String, count: Vec<u32> });

    #[cfg(feature = "fails")]
    session!({ #[serde(deserialize_with = "fails")] nick: String, count: u32 });

    #[cfg(feature = "fails")]
    fn fails<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        let nick = String::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("{nick} is not welcome")))
    }

    #[cfg(feature = "panics")]
    session!({ #[serde(deserialize_with = "panics")] nick: String, count: u32 });

    #[cfg(feature = "panics")]
    fn panics<'de, D: Deserializer<'de>>(_: D) -> Result<String, D::Error> {
        panic!("restore panics")
    }

    #[cfg(feature = "unsaved")]
    session!({ #[serde(serialize_with = "unsaved")] nick: String, count: u32 });

    #[cfg(feature = "unsaved")]
    fn unsaved<S: Serializer>(nick: &str, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(format!("{nick} is not to be moved")))
    }

    pub fn connect(_: &Connection) {}

    /// The state, or its default.
    pub fn get(c: &Connection) -> String {
        format!("{:?}", *c.state::<Session>())
    }

    pub fn count(c: &Connection) -> usize {
        c.state::<Session>().count.up()
    }

    pub fn borrow(c: &Connection) -> String {
        let _first = c.state::<Session>();
        let _second = c.state::<Session>();
        String::new()
    }

    /// Parses a field's type.
    trait Field {
        fn set(&mut self, value: &str) -> Result<(), String> {
            Err(format!("not to be set to {value}"))
        }

        fn up(&mut self) -> usize {
            0
        }
    }

    impl Field for String {
        fn set(&mut self, value: &str) -> Result<(), String> {
            value.clone_into(self);
            Ok(())
        }
    }

    impl Field for u32 {
        fn up(&mut self) -> usize {
            *self += 1;
            *self as usize
        }
    }

    impl Field for Vec<u32> {
        fn up(&mut self) -> usize {
            self.push(1);
            self.len()
        }
    }
}

#[cfg(any(feature = "none", feature = "data"))]
mod undeclared {
    use std::cell::Cell;

    use super::Connection;

    callsign_plugin::plugin!(name = "state", shared = crate::Room);

    pub fn connect(c: &Connection) {
        if cfg!(feature = "data") {
            c.set_data(Cell::new(0_usize));
        }
    }

    pub fn set(_: &Connection, field: &str, _: &str) -> Result<(), String> {
        Err(format!("no field `{field}`"))
    }

    pub fn get(c: &Connection) -> String {
        format!("{:?}", c.data::<Cell<usize>>().map(Cell::get))
    }

    pub fn borrow(_: &Connection) -> String {
        String::new()
    }

    pub fn count(c: &Connection) -> usize {
        let Some(count) = c.data::<Cell<usize>>() else { return 0 };
        count.set(count.get() + 1);
        count.get()
    }
}
