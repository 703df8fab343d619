//! A user or a group as the operator writes it: a name or a number. Whether it exists is checked when privileges are
//! dropped.

/// Trims and validates the name or number. The error states what was expected.
pub fn parse_account(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err("expected a name or a number, such as `www-data` or 33".to_owned());
    }
    Ok(text.to_owned())
}
