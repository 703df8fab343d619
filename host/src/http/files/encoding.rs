//! Which of the encodings of a file a client accepts (RFC 9110 §12.5.3): `app.js.br` and `app.js.gz` beside `app.js`.

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

use crate::http::list;

/// An encoding of files: its name in HTTP, and what its files end in.
pub type Encoding = (&'static str, &'static str);

/// The encodings of files, the best one first.
const ENCODINGS: [Encoding; 2] = [("br", ".br"), ("gzip", ".gz")];

/// The encodings that a client accepts, in the order in which they are tried. Without the header it accepts all, but it may not
/// know any.
pub fn accepted(headers: &HeaderMap) -> Vec<Encoding> {
    let weight = |name: &str| {
        let of = |wanted: &str| {
            list::elements(headers, ACCEPT_ENCODING).find_map(|element| {
                let text = std::str::from_utf8(element).ok()?;
                let mut parts = text.split(';').map(str::trim);
                let coding = parts.next()?;
                if !coding.eq_ignore_ascii_case(wanted) {
                    return None;
                }
                let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
                Some(q.map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0)))
            })
        };
        of(name).or_else(|| of("*")).unwrap_or(0.0)
    };
    let mut weighted: Vec<_> =
        ENCODINGS.iter().map(|it| (*it, weight(it.0))).filter(|(_, q)| *q > 0.0).collect();
    // The sort is stable: of two with the same weight, the better one comes first.
    weighted.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    weighted.into_iter().map(|(encoding, _)| encoding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_which_it_prefers() {
        for (lines, expected) in [
            (&[][..], &[][..]),
            (&["gzip, deflate, br"], &["br", "gzip"]),
            (&["GZIP"], &["gzip"]),
            (&["br;q=0.5, gzip;q=0.8"], &["gzip", "br"]),
            (&["br;q=0, *"], &["gzip"]),
            (&["*;q=0.1"], &["br", "gzip"]),
            (&["gzip;q=0", "br ; q=1.0"], &["br"]),
            (&["identity", "gzip;q=x"], &[]),
        ] {
            let headers =
                lines.iter().map(|line| (ACCEPT_ENCODING, line.parse().expect("a value"))).collect();
            let names: Vec<_> = accepted(&headers).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected, "{lines:?}");
        }
    }
}
