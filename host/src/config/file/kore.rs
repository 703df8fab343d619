//! Recognizes a configuration of Kore, whose format is not TOML. The README of `examples/kore` shows how to write its
//! routes in `callsign.toml`.

/// What a configuration of Kore begins, by the first word of a line.
const SECTIONS: &[&str] = &["load", "domain", "server", "bind", "route", "static", "dynamic", "privsep"];

/// Directives that restrict who may send what: without an equivalent, a request that they reject would reach its handler.
const RESTRICTIONS: &[&str] = &[
    "authentication",
    "authenticate",
    "methods",
    "restrict",
    "validate",
    "params",
    "client_verify",
    "client_certificates",
];

/// Explains what to do about a configuration of Kore. None: the text is none.
pub(super) fn explain(text: &str) -> Option<String> {
    let words = || text.lines().map(|line| line.split_whitespace().next().unwrap_or_default());
    // A key of TOML is followed by `=`.
    let is_section = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| SECTIONS.contains(&word))
            && words.next().is_some_and(|word| word != "=")
    };
    if text.lines().filter(|line| is_section(line)).count() < 2 {
        return None;
    }
    let lines = |wanted: &str| {
        let found = words().zip(1..).filter(|&(word, _)| word == wanted).map(|(_, line)| line.to_string());
        found.collect::<Vec<_>>().join(", ")
    };
    let found: Vec<String> = (RESTRICTIONS.iter().map(|name| (name, lines(name))))
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(name, lines)| format!("`{name}` (line {lines})"))
        .collect();
    let restrictions = match &found[..] {
        [] => String::new(),
        found => format!(
            "; it has no {}: make these checks in the handlers or in a reverse proxy, or requests that Kore rejects reach \
             the handlers",
            found.join(", ")
        ),
    };
    Some(format!(
        "this is a configuration of Kore; write a callsign.toml with a table [plugin.NAME] for `load` and a table [[route]] \
         for each route, as examples/kore/README.md shows{restrictions}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_kore_is_named_with_what_has_no_equivalent() {
        let text = "# app\nserver tls {\n\tbind 127.0.0.1 8888\n}\nload\t\t./app.so\n\nauthentication user {\n\
                    }\ndomain * {\n\troute /a {\n\t\tmethods get post\n\t}\n\troute /b {\n\t\tmethods get\n\t}\n}\n";
        let explained = explain(text).expect("it is one of Kore");
        assert!(
            explained.starts_with("this is a configuration of Kore; write a callsign.toml"),
            "{explained}"
        );
        assert!(
            explained.contains("it has no `authentication` (line 7), `methods` (line 11, 14): "),
            "{explained}"
        );
        let open = explain("bind 127.0.0.1 8888\nload ./app.so\ndomain * {\n static / page\n}\n");
        assert!(open.is_some_and(|explained| explained.ends_with("examples/kore/README.md shows")));
    }

    #[test]
    fn broken_toml_is_none() {
        for text in
            ["", "listen = ", "load = 1\nbind = 2\nroute = [", "[plugin.load]\npath = \"a.so\"\nroute {"]
        {
            assert_eq!(explain(text), None, "{text}");
        }
    }
}
