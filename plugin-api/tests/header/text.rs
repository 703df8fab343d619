//! Converts doc comments to C comments: rustdoc links become C names, Markdown becomes plain ASCII, and lines
//! are rewrapped. The caller translates names to C.

use syn::{Attribute, Expr, Lit, Meta};

/// Line width of the header in columns; a tab counts as eight.
pub const WIDTH: usize = 100;

/// The paragraphs of an item's doc comment.
pub fn paragraphs(attributes: &[Attribute], c_name: &dyn Fn(&str) -> String) -> Vec<String> {
    let lines: Vec<String> = attributes.iter().filter_map(doc_line).collect();
    let paragraphs = lines.split(|line| line.trim().is_empty());
    let filled = paragraphs.map(|lines| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "));
    filled.filter(|text| !text.is_empty()).map(|text| plain(&text, c_name)).collect()
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    match (&meta.value, meta.path.is_ident("doc")) {
        (Expr::Lit(literal), true) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn plain(text: &str, c_name: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let (path, after) = link.split_once("`]").unwrap_or_else(|| panic!("unterminated link: {text}"));
        out += before;
        out += &c_name(path);
        rest = after;
    }
    out += rest;
    let out = out
        .replace("**", "")
        .replace('§', "section ")
        .replace('…', "...")
        .replace("an callsign", "a callsign");
    let out = words(&out).map(|word| bare(word, c_name)).collect::<String>();
    assert!(out.is_ascii() && !out.contains("*/"), "not valid in a C comment: {out}");
    out
}

/// Splits the text into words and the characters between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split_inclusive(move |letter| !is_word(letter)).flat_map(move |part| {
        let end = part.find(|letter| !is_word(letter)).unwrap_or(part.len());
        [&part[..end], &part[end..]]
    })
}

/// Status names and message kinds are translated to C even without a rustdoc link.
fn bare(word: &str, c_name: &dyn Fn(&str) -> String) -> String {
    match word {
        "TEXT" | "BINARY" => c_name(&format!("op::{word}")),
        "BAD_ARGUMENT" | "BUSY" | "CLOSED" | "NOT_FOUND" | "NOT_NOW" | "NOT_UPGRADE" | "TOO_LARGE"
        | "WRONG_KIND" | "WRONG_THREAD" => c_name(&format!("status::{word}")),
        _ => word.to_owned(),
    }
}

/// A C comment, indented by `depth` tabs; empty if there is no text.
pub fn comment(paragraphs: &[String], depth: usize) -> String {
    let (tabs, width) = ("\t".repeat(depth), WIDTH - 8 * depth - " * ".len() - " */".len());
    let lines: Vec<String> = paragraphs
        .iter()
        .enumerate()
        .flat_map(|(i, text)| {
            let between = (i > 0).then(String::new);
            between.into_iter().chain(fill(text.split(' '), width))
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let body = lines.join(&format!("\n{tabs} * ")).replace(" * \n", " *\n");
    format!("{tabs}/* {body} */\n")
}

/// Joins words to lines of at most `width` characters.
pub fn fill<'w>(words: impl Iterator<Item = &'w str>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
