//! Encodes saved state, and explains why a state cannot be decoded. Independent of connections and the host.
#![forbid(unsafe_code)]

use std::any::type_name;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// First byte of saved state. The two generations of a plugin may use different versions of this crate.
const FORMAT: u8 = 1; // MessagePack, with structs as maps from field names

/// Encodes a state. `what` describes it in the error.
pub fn encode<T: Serialize>(what: &str, state: &T) -> Result<Vec<u8>, String> {
    let mut bytes = vec![FORMAT];
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    match state.serialize(&mut serializer) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(format!("{what} `{}` cannot be saved: {error}", short_name::<T>())),
    }
}

/// Decodes a state. `what` describes it in the error, which names the field.
pub fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, String> {
    let name = short_name::<T>();
    let (format, bytes) =
        bytes.split_first().ok_or_else(|| format!("{what} `{name}`: no bytes were saved"))?;
    if *format != FORMAT {
        return Err(format!(
            "{what} `{name}`: it was saved in format {format}, and this version of callsign-plugin reads {FORMAT} \
             alone; is the old copy written in another language, or with a newer callsign-plugin?"
        ));
    }
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => String::new(),
            path => path,
        };
        let (path, reason) = explain(path, &error.into_inner().to_string());
        let field = if path.is_empty() { String::new() } else { format!(", field `{path}`") };
        format!("{what} `{name}`{field}: {reason}")
    })
}

/// The path of the field that failed, and the reason with advice.
fn explain(path: String, reason: &str) -> (String, String) {
    if let Some(field) = reason.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let dot = if path.is_empty() { "" } else { "." };
        let advice = "it is new and has no default; add #[serde(default)] to it \
                      (or #[serde(alias = \"…\")] with its old name, if it was renamed)";
        return (format!("{path}{dot}{field}"), advice.to_owned());
    }
    let advice = match reason {
        _ if reason.starts_with("invalid type") || reason.starts_with("invalid value") => {
            "; keep the field's type, or give what it has become a new name and #[serde(default)]"
        }
        _ if reason.starts_with("unknown field") => "; leave out #[serde(deny_unknown_fields)]",
        _ if reason.starts_with("unknown variant") => {
            "; keep the variant, or mark another one #[serde(alias = \"…\")] or #[serde(other)]"
        }
        _ => "",
    };
    (path, format!("{reason}{advice}"))
}

/// The name of a type without its modules: `Option<Session>`, not `core::option::Option<chat::Session>`.
pub fn short_name<T: ?Sized>() -> String {
    let mut short = String::new();
    let mut parts = type_name::<T>().split("::").peekable();
    while let Some(part) = parts.next() {
        let is_module = parts.peek().is_some();
        let word = |c: char| is_module && (c.is_alphanumeric() || c == '_');
        short.push_str(part.trim_end_matches(word));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_name_has_no_modules() {
        struct Session;
        assert_eq!(short_name::<Session>(), "Session");
        assert_eq!(short_name::<Option<Vec<Session>>>(), "Option<Vec<Session>>");
        assert_eq!(short_name::<(u8, &[Session])>(), "(u8, &[Session])");
    }

    #[test]
    fn an_unknown_format_is_rejected() {
        let error = decode::<u8>("state", &[9, 1]).unwrap_err();
        assert_eq!(
            error,
            "state `u8`: it was saved in format 9, and this version of callsign-plugin reads 1 alone; is the old \
             copy written in another language, or with a newer callsign-plugin?"
        );
        assert_eq!(decode::<u8>("state", &[]).unwrap_err(), "state `u8`: no bytes were saved");
    }
}
