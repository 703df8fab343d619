//! "Did you mean": the existing name that is closest to a mistyped one.

/// Tolerates one mistake per this many letters. With more mistakes, a suggestion is more likely to confuse than to
/// help.
const LETTERS_PER_MISTAKE: usize = 3;

/// The closest name in `existing`, or None if every name has too many mistakes. Among equally close names the first
/// wins. A mistake is a letter that is missing, added, wrong or swapped with its neighbour; case is ignored.
pub fn nearest<'a>(wanted: &str, existing: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    existing
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(mistakes, name)| {
            mistakes * LETTERS_PER_MISTAKE <= name.chars().count().max(wanted.chars().count())
        })
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const NAMES: [&str; 5] = ["chat_message", "chat_join", "onmessage", "page", "go"];

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        for (wanted, meant) in [
            ("chat_mesage", "chat_message"),
            ("chat_jion", "chat_join"),
            ("onMessage", "onmessage"),
            ("on_message", "onmessage"),
            ("pages", "page"),
        ] {
            assert_eq!(nearest(wanted, NAMES), Some(meant), "{wanted}");
        }
    }

    #[test]
    fn nonsense_gets_no_suggestion() {
        for wanted in ["", "x", "no", "frobnicate", "chat"] {
            assert_eq!(nearest(wanted, NAMES), None, "{wanted}");
        }
        assert_eq!(nearest("anything", []), None);
    }

    #[test]
    fn the_closest_wins_and_then_the_first() {
        assert_eq!(nearest("join2", ["join1", "join2x", "join3"]), Some("join1"));
        assert_eq!(nearest("message", ["messages2", "messages"]), Some("messages"));
    }
}
