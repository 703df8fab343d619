//! Functions in C++. Their compiler mangles the name in the source (Itanium C++ ABI §5.1): the library exports
//! `_Z4joinP10connection` for `join`, and no handler is found by the name `join`.

use super::handler::Kind;
use super::image::Image;
use crate::config::nearest::nearest;

/// An exported C++ function.
#[derive(Clone, Copy, Debug)]
pub struct CppFunction<'i> {
    /// Without namespaces and parameters.
    pub name: &'i str,
    /// As the library exports it.
    pub symbol: &'i str,
}

impl<'i> CppFunction<'i> {
    /// The exported C++ functions.
    pub fn all(image: &'i Image) -> impl Iterator<Item = Self> + Clone {
        let functions = image.functions.iter();
        functions.filter_map(|symbol| Some(Self { name: source_name(symbol)?, symbol }))
    }

    /// The one of that name.
    pub fn find(functions: impl IntoIterator<Item = Self>, name: &str) -> Option<Self> {
        functions.into_iter().find(|function| function.name == name)
    }

    /// The one whose name is closest.
    pub fn nearest(functions: impl IntoIterator<Item = Self> + Clone, name: &str) -> Option<Self> {
        let near = nearest(name, functions.clone().into_iter().map(|function| function.name))?;
        Self::find(functions, near)
    }

    /// Why it is not found by its name, as the end of a sentence.
    pub fn hint(self, kind: Kind) -> String {
        let (Self { name, symbol }, kind) = (self, kind.to_string().to_uppercase());
        format!(
            "`{name}` is a C++ function, which the library exports as `{symbol}`: declare it extern \"C\", or export it \
             with CALLSIGN_{kind}({name})"
        )
    }
}

/// Whether a compiler has mangled the name.
pub fn is_mangled(symbol: &str) -> bool {
    symbol.starts_with("_Z")
}

/// The name in the source of a mangled function. None: the symbol is another one, or is a function without such a name.
fn source_name(symbol: &str) -> Option<&str> {
    let encoded = symbol.strip_prefix("_Z")?;
    let (mut rest, is_nested) = match encoded.strip_prefix('N') {
        Some(nested) => (nested, true),
        None => (encoded, false),
    };
    let mut last = None;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(length) = rest[..digits].parse() else { return last };
        let (name, behind) = rest[digits..].split_at_checked(length)?;
        if !is_nested {
            return Some(name);
        }
        (last, rest) = (Some(name), behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_the_source_is_found() {
        for (symbol, name) in [
            ("_Z4joinP10connection", Some("join")),
            ("_ZN4chat4joinEP10connection", Some("join")),
            ("join", None),
            ("_ZplRK4RoomS1_", None),
            ("_Z99join", None),
            ("_Z", None),
            ("_ZN", None),
            ("_Z99999999999999999999999join", None),
            ("_Z1é", None),
        ] {
            assert_eq!(source_name(symbol), name, "{symbol}");
        }
    }
}
