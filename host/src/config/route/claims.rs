//! Which requests the routes so far take, to find two routes for the same.

use std::collections::HashMap;

use super::Route;
use super::host::HostPattern;

/// The requests that routes take: host, path and method of each, with the index of its route.
#[derive(Debug, Default)]
pub struct Claims(HashMap<(Option<HostPattern>, String, Option<String>), usize>);

/// Requests that two routes take.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The index of the first route.
    pub first: usize,
    host: Option<HostPattern>,
    method: Option<String>,
}

impl Claims {
    /// Adds a route. Err: another one takes the same requests. A route that lists a method is no conflict with one that takes
    /// all methods, which gets the others.
    pub fn add(&mut self, route: &Route, index: usize) -> Result<(), Conflict> {
        let pattern = route.path.pattern();
        for host in each(&route.hosts) {
            for method in each(&route.methods) {
                let key = (host.clone(), pattern.clone(), method.clone());
                if let Some(first) = self.0.insert(key, index).filter(|first| *first != index) {
                    return Err(Conflict { first, host, method });
                }
            }
        }
        Ok(())
    }
}

/// Each item, or None if there are none.
fn each<T: Clone>(items: &[T]) -> impl Iterator<Item = Option<T>> {
    let all = items.is_empty().then_some(None);
    all.into_iter().chain(items.iter().cloned().map(Some))
}

impl Conflict {
    /// ``GET `/room/{name}` on host `example.org` ``
    pub fn requests(&self, route: &Route) -> String {
        let method = self.method.as_ref().map_or_else(String::new, |method| format!("{method} "));
        let host = self.host.as_ref().map_or_else(String::new, |host| format!(" on host `{host}`"));
        format!("{method}`{}`{host}", route.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route such as `GET,PUT x.org,y.org /path`; `-` stands for all.
    fn route(text: &str) -> Route {
        let [methods, hosts, path] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let list =
            |text: &str| if text == "-" { vec![] } else { text.split(',').map(str::to_owned).collect() };
        let mut route = Route::from_flag(&format!("{path}=page")).unwrap();
        route.methods = list(methods);
        route.hosts = list(hosts).iter().map(|host| HostPattern::parse(host).unwrap()).collect();
        route
    }

    #[test]
    fn two_routes_for_the_same_requests_are_a_conflict() {
        for (first, second, requests) in [
            ("- - /a", "- - /a", Some("`/a`")),
            ("- - /{a}", "- - /{b}", Some("`/{b}`")),
            ("- - /a/*", "- - /a/{*b}", Some("`/a/{*b}`")),
            ("GET,PUT - /a", "POST,PUT - /a", Some("PUT `/a`")),
            ("- x.org,y.org /a", "- y.org /a", Some("`/a` on host `y.org`")),
            ("GET *.org /a", "GET *.org /%61", Some("GET `/%61` on host `*.org`")),
            ("- - /a", "- - /b", None),
            ("- - /a", "- - /{a}", None),
            ("- - /a", "GET - /a", None),
            ("GET - /a", "HEAD - /a", None),
            ("- x.org /a", "- - /a", None),
            ("- x.org /a", "- *.org /a", None),
        ] {
            let (first, second) = (route(first), route(second));
            let mut claims = Claims::default();
            claims.add(&first, 7).expect("the first route has no conflict");
            let found = claims.add(&second, 8).err();
            assert_eq!(found.as_ref().map(|it| it.requests(&second)).as_deref(), requests);
            assert!(found.is_none_or(|found| found.first == 7));
        }
    }
}
