//! A user or a group as the operator writes it: a name or a number. Whether it exists is checked when privileges are
//! dropped.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Trims and validates the name or number. The error states what was expected.
pub fn parse_account(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err("expected a name or a number, such as `www-data` or 33".to_owned());
    }
    Ok(text.to_owned())
}

/// Whom a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub user: String,
    /// None: the primary group of `user`.
    pub group: Option<String>,
}

impl Owner {
    /// Parses `USER` or `USER:GROUP`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let owner = parse_account(user)
            .and_then(|user| Ok(Self { user, group: group.map(parse_account).transpose()? }))
            .ok()
            .filter(|owner| owner.group.as_ref().is_none_or(|group| !group.contains(':')));
        owner.ok_or_else(|| {
            "expected a user, or a user and a group, such as \"www-data\" or \"chat:www-data\"".to_owned()
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        self.group.iter().try_for_each(|group| write!(f, ":{group}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_user_with_or_without_a_group() {
        let owner = |user: &str, group: Option<&str>| {
            Ok(Owner { user: user.to_owned(), group: group.map(str::to_owned) })
        };
        assert_eq!(Owner::parse("chat"), owner("chat", None));
        assert_eq!(Owner::parse(" chat : 33 "), owner("chat", Some("33")));
        for bad in ["", ":", ":www-data", "chat:", "a:b:c", "a\nb"] {
            assert!(Owner::parse(bad).is_err(), "{bad:?}");
        }
    }
}
