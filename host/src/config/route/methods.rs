//! Methods of a route: GET, POST.

use std::collections::HashSet;

use crate::config::handshake::is_token;

/// Parses a method (RFC 9110 §9). The error states what was expected.
pub fn parse_method(text: &str) -> Result<String, String> {
    const EXPECTED: &str = "expected a method in capital letters, such as \"GET\"";
    match text.trim() {
        "CONNECT" => Err(format!("{EXPECTED}; a CONNECT request has no path")),
        method if is_token(method.as_bytes()) && !method.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Ok(method.to_owned())
        }
        _ => Err(EXPECTED.to_owned()),
    }
}

/// The routes of one path and host, by method.
#[derive(Debug, Clone, Default)]
pub struct ByMethod {
    /// The index of the route for each method.
    listed: Vec<(String, usize)>,
    /// The index of the route for all other methods.
    others: Option<usize>,
}

impl ByMethod {
    /// Adds a route; without methods, it takes those that no other route lists.
    pub fn insert(&mut self, methods: &[String], index: usize) {
        match methods {
            [] => self.others = Some(index),
            methods => self.listed.extend(methods.iter().map(|method| (method.clone(), index))),
        }
    }

    /// The index of the route that takes this method. HEAD is taken where GET is, if no route lists it.
    pub fn find(&self, method: &str) -> Option<usize> {
        let of =
            |method: &str| self.listed.iter().find(|(other, _)| other == method).map(|(_, index)| *index);
        let head = || if method == "HEAD" { of("GET") } else { None };
        of(method).or_else(head).or(self.others)
    }

    /// The value of an Allow header. The server itself answers OPTIONS where no route takes it.
    pub fn allow(&self) -> String {
        let mut methods: Vec<&str> = Vec::new();
        for (method, _) in &self.listed {
            methods.push(method);
            methods.extend((method == "GET").then_some("HEAD"));
        }
        methods.push("OPTIONS");
        let mut seen = HashSet::new();
        methods.retain(|method| seen.insert(*method));
        methods.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_a_token_in_capital_letters() {
        for method in ["GET", "PROPFIND", "M-SEARCH"] {
            assert_eq!(parse_method(method), Ok(method.to_owned()));
        }
        for method in ["", "get", "Get", "GET POST", "GET,POST", "CONNECT", "É"] {
            assert!(parse_method(method).is_err(), "{method}");
        }
    }

    #[test]
    fn head_goes_where_get_goes_and_the_rest_to_the_route_without_methods() {
        let methods = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut routes = ByMethod::default();
        routes.insert(&methods(&["POST", "GET"]), 1);
        assert_eq!(routes.allow(), "POST, GET, HEAD, OPTIONS");
        assert_eq!(
            ["GET", "HEAD", "POST", "PUT"].map(|it| routes.find(it)),
            [Some(1), Some(1), Some(1), None]
        );
        routes.insert(&methods(&["HEAD", "OPTIONS"]), 2);
        assert_eq!(routes.allow(), "POST, GET, HEAD, OPTIONS");
        assert_eq!(
            ["GET", "HEAD", "OPTIONS", "PUT"].map(|it| routes.find(it)),
            [Some(1), Some(2), Some(2), None]
        );
        routes.insert(&[], 3);
        assert_eq!(
            ["GET", "HEAD", "PUT", "get"].map(|it| routes.find(it)),
            [Some(1), Some(2), Some(3), Some(3)]
        );
    }
}
