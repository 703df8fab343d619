//! Finds the route of a request: its host selects first, then its path, then its method.
//!
//! Invariant: the time to find a route does not depend on their number, but on how many of them have text where others
//! have a parameter; and neither the length of a path nor that of a route makes anything recursive.

use std::collections::HashMap;

use super::Route;
use super::host::{self, HostPattern};
use super::methods::ByMethod;
use super::path::{RoutePath, Segment};
use crate::config::uri_path::normalize;

/// All routes, by host.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    exact: HashMap<String, Paths>,
    /// `*.example.org` is at `example.org`.
    below: HashMap<String, Paths>,
    /// For every host.
    any: Paths,
}

impl Routes {
    /// Whether the host of a request matters.
    pub fn has_hosts(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// The routes of a request's host and path, without its query. `host` may be "" if no route has one. An exact host comes
    /// before the longest `*.` before routes for every host; the first of them that has the path decides.
    ///
    /// Of the paths, segments are compared from the first: text comes before a parameter before `/*`. `/files/*` matches
    /// `/files/` and everything below it, not `/files`.
    pub fn find(&self, host: &str, path: &str) -> Option<&ByMethod> {
        let path = normalize(path);
        let of_host = if self.has_hosts() { host::name_of(host) } else { None };
        let name = of_host.as_deref().unwrap_or_default();
        let below = host::parents(name).filter_map(|name| self.below.get(name));
        let of_host = self.exact.get(name).into_iter().chain(below);
        of_host.chain([&self.any]).find_map(|paths| paths.find(&path))
    }

    /// Adds a route.
    pub fn insert(&mut self, path: &RoutePath, hosts: &[HostPattern], methods: &[String], index: usize) {
        for host in hosts {
            let paths = match host {
                HostPattern::Exact(name) => self.exact.entry(name.clone()),
                HostPattern::Below(name) => self.below.entry(name.clone()),
            };
            paths.or_default().entry(path).insert(methods, index);
        }
        if hosts.is_empty() {
            self.any.entry(path).insert(methods, index);
        }
    }
}

impl<'r> FromIterator<&'r Route> for Routes {
    fn from_iter<I: IntoIterator<Item = &'r Route>>(all: I) -> Self {
        let mut routes = Self::default();
        for (index, route) in all.into_iter().enumerate() {
            routes.insert(&route.path, &route.hosts, &route.methods, index);
        }
        routes
    }
}

/// The paths of one host: a tree of segments.
#[derive(Debug, Clone)]
struct Paths(Vec<Node>);

/// Where the segments so far lead.
#[derive(Debug, Clone, Default)]
struct Node {
    /// By the text of the next segment.
    next: HashMap<Box<str>, usize>,
    /// If the next segment is a parameter.
    parameter: Option<usize>,
    /// If the path ends here.
    end: Option<Box<ByMethod>>,
    /// If it has further segments, whatever they are.
    rest: Option<Box<ByMethod>>,
}

impl Default for Paths {
    fn default() -> Self {
        Self(vec![Node::default()])
    }
}

impl Paths {
    /// The routes of a path, added if there are none.
    fn entry(&mut self, path: &RoutePath) -> &mut ByMethod {
        let mut at = 0;
        for segment in path.segments() {
            let count = self.0.len();
            let node = &mut self.0[at];
            at = match segment {
                Segment::Static(text) => *node.next.entry(text.into()).or_insert(count),
                Segment::Parameter(_) => *node.parameter.get_or_insert(count),
            };
            if at == count {
                self.0.push(Node::default());
            }
        }
        let Node { end, rest, .. } = &mut self.0[at];
        if path.is_prefix() { rest.get_or_insert_default() } else { end.get_or_insert_default() }
    }

    fn find(&self, path: &str) -> Option<&ByMethod> {
        // What to try if the way ends, the last one first.
        let mut others = Vec::new();
        let mut here = (&self.0[0], path.strip_prefix('/'));
        loop {
            let (node, left) = here;
            let next = match left {
                None if node.end.is_some() => return node.end.as_deref(),
                None => None,
                Some(left) => {
                    let (segment, after) = match left.split_once('/') {
                        Some((segment, after)) => (segment, Some(after)),
                        None => (left, None),
                    };
                    others.extend(node.rest.as_deref().map(Other::Found));
                    let parameter = node.parameter.filter(|_| !segment.is_empty());
                    others.extend(parameter.map(|next| Other::Way(&self.0[next], after)));
                    node.next.get(segment).map(|&next| (&self.0[next], after))
                }
            };
            here = match next.map_or_else(|| others.pop(), |(node, left)| Some(Other::Way(node, left)))? {
                Other::Way(node, left) => (node, left),
                Other::Found(found) => return Some(found),
            };
        }
    }
}

enum Other<'r, 'p> {
    /// On from this node, with the further segments.
    Way(&'r Node, Option<&'p str>),
    /// The path has all segments of these routes.
    Found(&'r ByMethod),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(paths: &[&str]) -> Routes {
        let mut routes = Routes::default();
        for (index, path) in paths.iter().enumerate() {
            routes.insert(&RoutePath::parse(path).unwrap(), &[], &[], index);
        }
        routes
    }

    fn find(routes: &Routes, path: &str) -> Option<usize> {
        routes.find("", path)?.find("GET")
    }

    #[test]
    fn the_exact_route_comes_before_every_prefix() {
        let routes = routes(&["/*", "/a/*", "/a/b"]);
        assert_eq!(find(&routes, "/a/b"), Some(2));
        assert_eq!(find(&routes, "/a/b/"), Some(1));
    }

    #[test]
    fn the_longest_prefix_wins_in_any_order() {
        for (paths, found) in [(["/a/b/*", "/a/*", "/*"], 0), (["/*", "/a/*", "/a/b/*"], 2)] {
            assert_eq!(find(&routes(&paths), "/a/b/c"), Some(found));
            assert_eq!(find(&routes(&paths), "/a/c"), Some(1));
        }
    }

    #[test]
    fn a_prefix_matches_its_folder_and_all_below_but_not_its_bare_name() {
        let all = routes(&["/a/*"]);
        assert_eq!(find(&all, "/a/"), Some(0));
        assert_eq!(find(&all, "/a/b/c"), Some(0));
        assert_eq!(find(&all, "/a"), None);
        assert_eq!(find(&all, "/ab"), None);
        assert_eq!(find(&Routes::default(), "/"), None);
        let root = routes(&["/*"]);
        assert_eq!(
            ["/", "/a", "//", "", "*"].map(|it| find(&root, it)),
            [Some(0), Some(0), Some(0), None, None]
        );
        let only_root = routes(&["/"]);
        assert_eq!(["/", "//", "/a"].map(|it| find(&only_root, it)), [Some(0), None, None]);
    }

    #[test]
    fn text_comes_before_a_parameter_before_a_prefix() {
        let all = routes(&["/*", "/{a}", "/{a}/x", "/b/*", "/b/{c}/d", "/b/c/e", "/{a}/x/{*rest}", "/f/"]);
        for (path, found) in [
            ("/", Some(0)),
            ("/b", Some(1)),
            ("/b/", Some(3)),
            ("/b/x", Some(3)),
            ("/a/x", Some(2)),
            ("/a/x/", Some(6)),
            ("/a/x/y/z", Some(6)),
            ("/a/y", Some(0)),
            ("/b/c/d", Some(4)),
            ("/b/c/e", Some(5)),
            ("/b/c/f", Some(3)),
            ("/b//d", Some(3)),
            ("//x", Some(0)),
            ("/f/", Some(7)),
            ("/f/x", Some(2)),
            // An encoded slash is part of its segment.
            ("/b%2Fc", Some(1)),
        ] {
            assert_eq!(find(&all, path), found, "{path}");
        }
    }

    #[test]
    fn a_path_may_be_spelled_in_several_ways() {
        let routes = routes(&["/café", "/my%20room/*", "/a-b", "/x/*", "/%7Bx%7D"]);
        for (path, found) in [
            ("/caf%C3%A9", Some(0)),
            ("/caf%c3%a9", Some(0)),
            ("/café", Some(0)),
            ("/caf%E9", None),
            ("/my%20room/%7e", Some(1)),
            ("/%61%2Db", Some(2)),
            ("/x%2Fy", None),
            ("/x/%2F", Some(3)),
            ("/x/100%", Some(3)),
            ("/{x}", Some(4)),
            ("/y", None),
        ] {
            assert_eq!(find(&routes, path), found, "{path}");
        }
    }

    #[test]
    fn the_host_selects_before_the_path() {
        let mut routes = Routes::default();
        for (index, (host, path)) in [
            ("", "/a"),
            ("x.org", "/{any}"),
            ("*.x.org", "/*"),
            ("*.y.x.org", "/a"),
            ("z.x.org", "/b"),
            ("[::1]", "/a"),
        ]
        .into_iter()
        .enumerate()
        {
            let hosts: Vec<_> = HostPattern::parse(host).into_iter().collect();
            routes.insert(&RoutePath::parse(path).unwrap(), &hosts, &[], index);
        }
        for (host, path, found) in [
            ("", "/a", Some(0)),
            ("other.org", "/a", Some(0)),
            ("other.org", "/b", None),
            ("X.org.:80", "/a", Some(1)),
            ("x.org", "/a/b", None),
            ("w.x.org", "/a", Some(2)),
            ("v.w.x.org", "/", Some(2)),
            ("y.x.org", "/a", Some(2)),
            ("w.y.x.org", "/a", Some(3)),
            ("w.y.x.org", "/b", Some(2)),
            ("z.x.org", "/b", Some(4)),
            ("z.x.org", "/a", Some(2)),
            ("ax.org", "/a", Some(0)),
            ("[0:0::1]:8080", "/a", Some(5)),
        ] {
            assert_eq!(routes.find(host, path).and_then(|it| it.find("GET")), found, "{host} {path}");
        }
    }

    #[test]
    fn the_longest_of_many_nested_prefixes_is_found() {
        let paths: Vec<String> = (0..200).map(|depth| format!("{}*", "/".repeat(depth + 1))).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(find(&routes(&paths), &"/".repeat(70)), Some(69));
        assert_eq!(find(&routes(&paths), &"/".repeat(60_000)), Some(199));
    }

    #[test]
    fn a_path_of_many_segments_is_no_recursion() {
        let long = "/{a}".repeat(20_000).replace("{a}", "a");
        assert_eq!(find(&routes(&[&long, "/*"]), &long), Some(0));
        assert_eq!(find(&routes(&[&long, "/*"]), &long[..30_000]), Some(1));
    }
}
