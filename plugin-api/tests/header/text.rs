//! Doc comments to C comments: rustdoc links become C names, Markdown becomes plain ASCII, lines are filled
//! anew. What a name is called in C is asked of the caller.

use syn::{Attribute, Expr, Lit, Meta};

/// Columns of the header, a tab counted as eight.
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
        let (path, after) = link.split_once("`]").unwrap_or_else(|| panic!("a link without an end: {text}"));
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
    assert!(out.is_ascii() && !out.contains("*/"), "no text for a C comment: {out}");
    out
}

/// Words and what is between them, in turns.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split_inclusive(move |letter| !is_word(letter)).flat_map(move |part| {
        let end = part.find(|letter| !is_word(letter)).unwrap_or(part.len());
        [&part[..end], &part[end..]]
    })
}

/// What is answered, and what kinds of messages there are, is spoken of without a link too.
fn bare(word: &str, c_name: &dyn Fn(&str) -> String) -> String {
    match word {
        "TEXT" | "BINARY" => c_name(&format!("op::{word}")),
        "BAD_ARGUMENT" | "BUSY" | "CLOSED" | "NOT_FOUND" | "NOT_NOW" | "NOT_UPGRADE" | "TOO_LARGE"
        | "WRONG_KIND" | "WRONG_THREAD" => c_name(&format!("status::{word}")),
        _ => word.to_owned(),
    }
}

/// A C comment at a depth of tabs; nothing if there is no text.
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

/// Words in lines of at most so many characters.
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
