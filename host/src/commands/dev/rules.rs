//! Makefile rules in which compilers and cargo write what they have read (`target: file file`).

/// The files on the right of the colons. A backslash continues a line or escapes a space; `$$` is a dollar sign.
pub fn prerequisites(rules: &str) -> Vec<String> {
    let joined = rules.replace("\\\r\n", " ").replace("\\\n", " ");
    joined.lines().filter_map(|line| split_rule(line.trim_end())).flat_map(words).collect()
}

/// The part behind the colon that ends the target. A path may contain a colon too.
fn split_rule(line: &str) -> Option<&str> {
    let is_end =
        |(at, _): &(usize, &str)| line[at + 1..].is_empty() || line[at + 1..].starts_with([' ', '\t']);
    let (at, _) = line.match_indices(':').find(is_end)?;
    Some(&line[at + 1..])
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\\', Some(&next @ (' ' | '#' | '\\' | ':'))) | ('$', Some(&next @ '$')) => {
                word.push(next);
                letters.next();
            }
            (' ' | '\t', _) => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rules_and_their_continued_lines_are_read() {
        let rules =
            "chat.o: chat.c \\\n  ../common/room.h\\\n my\\ page.html\n\nroom.h:\nb.o: b.c cost$$.h\n";
        assert_eq!(prerequisites(rules), ["chat.c", "../common/room.h", "my page.html", "b.c", "cost$.h"]);
    }

    #[test]
    fn cargos_rule_may_have_spaces_in_names() {
        let files = prerequisites("/t/libchat.so: /p/src/lib.rs /p/my\\ page.html\n");
        assert_eq!(files, ["/p/src/lib.rs", "/p/my page.html"]);
        assert_eq!(prerequisites("/t/a:b.so: /p/c:d.rs"), ["/p/c:d.rs"]);
        assert_eq!(prerequisites(""), [""; 0]);
        assert_eq!(prerequisites("no rule"), [""; 0]);
    }
}
