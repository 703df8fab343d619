//! `listen`: an address, an array of addresses, or `[[listen]]` tables.

use std::path::Path;

use anyhow::Result;
use toml::Spanned;
use toml::de::DeValue;

use super::tls::{self, ListenTls};
use super::walk::Section;
use super::{boolean, text, whole_number};
use crate::config::account::{Owner, parse_account};
use crate::config::listen::Listen;
use crate::config::listen_address::{ListenAddress, parse_mode};

pub(super) const LISTEN_KEYS: &[&str] =
    &["address", "mode", "owner", "proxy_protocol", "tls", "client_certificates", "http2", "redirect"];

const EXPECTED: &str = "expected HOST:PORT, unix:PATH, or tables in double brackets, [[listen]]";

/// Reads all entries. Paths of Unix sockets are joined to `folder`.
pub(super) fn entries(top: &Section, folder: &Path) -> Result<Option<Vec<Listen>>> {
    let Some(value) = top.get("listen") else { return Ok(None) };
    let items: Vec<_> = match value.get_ref() {
        DeValue::Array(items) if items.is_empty() => {
            return Err(top.rejection("listen", value, "expected at least one HOST:PORT in it"));
        }
        DeValue::Array(items) => items.iter().collect(),
        // `[listen]`.
        DeValue::Table(_) => return Err(top.rejection("listen", value, EXPECTED)),
        _ => vec![value],
    };
    items.into_iter().map(|item| entry(top, item, folder)).collect::<Result<_>>().map(Some)
}

fn entry<'a>(top: &Section<'a>, item: &'a Spanned<DeValue<'a>>, folder: &Path) -> Result<Listen> {
    if !item.get_ref().is_table() {
        let address = ListenAddress::parse(text(item.get_ref()));
        let address = address.map_err(|expected| top.rejection("listen", item, &expected))?;
        let (address, position) = (address.relative_to(folder), top.document.position(item.span().start));
        return Ok(Listen { address, position: Some(position), ..Listen::default() });
    }
    let table = top.open("listen", "in [[listen]]".to_owned(), item, LISTEN_KEYS, EXPECTED)?;
    let address = table.required("address", |value| ListenAddress::parse(text(value)))?;
    let proxy_protocol = table.value("proxy_protocol", boolean)?.unwrap_or_default();
    let ListenTls { tls, redirect } = tls::of_listen(&table, &address, folder)?;
    let address = of_table(&table, address)?.relative_to(folder);
    let position = Some(top.document.position(table.get("address").unwrap_or(item).span().start));
    Ok(Listen { address, proxy_protocol, tls, redirect, position })
}

/// Adds to the address what other keys of its table say.
fn of_table(table: &Section, address: ListenAddress) -> Result<ListenAddress> {
    let mode = table.value("mode", permissions)?;
    let owner = table.value("owner", owner)?;
    match (address, mode) {
        (ListenAddress::Unix { mode: Some(_), .. }, Some(_)) => {
            Err(table.error("the address has a mode too; keep one of `mode` and `?mode=`"))
        }
        (ListenAddress::Unix { path, mode: of_address, .. }, mode) => {
            Ok(ListenAddress::Unix { path, mode: mode.or(of_address), owner })
        }
        (address, _) => match ["mode", "owner"].iter().find_map(|key| Some((key, table.get(key)?))) {
            Some((key, value)) => {
                Err(table.rejection(key, value, "and the key is for Unix sockets (unix:PATH) only"))
            }
            None => Ok(address),
        },
    }
}

fn permissions(value: &DeValue) -> Result<u32, String> {
    let mode = match value.as_integer() {
        Some(number) if number.radix() == 8 => parse_mode(number.as_str()),
        Some(_) => None,
        None => parse_mode(text(value)),
    };
    mode.ok_or_else(|| "expected permissions in octal, at most 777, such as \"660\"".to_owned())
}

fn owner(value: &DeValue) -> Result<Owner, String> {
    match whole_number(value) {
        Some(number) => parse_account(&number.to_string()).map(|user| Owner { user, group: None }),
        None => Owner::parse(text(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;

    fn listen(text: &str) -> Result<Vec<Listen>> {
        parse(text, Path::new("/etc/chat/callsign.toml")).map(|config| config.listen.unwrap_or_default())
    }

    fn unix(path: &str, mode: Option<u32>, owner: Option<&str>) -> ListenAddress {
        let owner = owner.map(|owner| Owner::parse(owner).expect("it is valid"));
        ListenAddress::Unix { path: path.into(), mode, owner }
    }

    fn addresses(text: &str) -> Vec<ListenAddress> {
        listen(text).expect("it is valid").into_iter().map(|entry| entry.address).collect()
    }

    fn tcp(address: &str) -> ListenAddress {
        ListenAddress::Tcp(address.to_owned())
    }

    #[test]
    fn a_relative_unix_socket_is_in_the_folder_of_the_file() {
        assert_eq!(
            addresses("listen = ['unix:a.sock?mode=600', 'unix:/run/b.sock', 'c:1']"),
            [unix("/etc/chat/a.sock", Some(0o600), None), unix("/run/b.sock", None, None), tcp("c:1")]
        );
        assert_eq!(addresses("[[listen]]\naddress = 'unix:a.sock'"), [unix("/etc/chat/a.sock", None, None)]);
    }

    #[test]
    fn tables_have_the_settings_of_their_sockets() {
        let text = "[[listen]]\naddress = 'a:1'\n\
                    [[listen]]\naddress = 'unix:/b'\nmode = '0600'\nowner = 'chat:www-data'\n\
                    [[listen]]\naddress = 'unix:/c?mode=666'\nowner = 33\n\
                    [[listen]]\naddress = 'unix:/d'\nmode = 0o640";
        let expected = [
            tcp("a:1"),
            unix("/b", Some(0o600), Some("chat:www-data")),
            unix("/c", Some(0o666), Some("33")),
            unix("/d", Some(0o640), None),
        ];
        assert_eq!(addresses(text), expected);
        assert_eq!(
            addresses("listen = ['a:1', { address = 'unix:/b', mode = '600' }]"),
            [tcp("a:1"), unix("/b", Some(0o600), None)],
            "both forms"
        );
    }

    #[test]
    fn the_proxy_protocol_is_off_unless_a_table_turns_it_on() {
        let text = "listen = ['a:1', { address = 'b:2', proxy_protocol = true }, \
                    { address = 'unix:c', proxy_protocol = false }]";
        let listen = listen(text).expect("it is valid");
        assert_eq!(listen.iter().map(|entry| entry.proxy_protocol).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn an_entry_knows_its_line_and_column() {
        let text = "listen = ['a:1',\n  { address = 'b:1' }]";
        let positions: Vec<_> =
            listen(text).expect("it is valid").into_iter().filter_map(|entry| entry.position).collect();
        assert_eq!(positions, ["/etc/chat/callsign.toml:1:11", "/etc/chat/callsign.toml:2:15"]);
        let entry = listen("[[listen]]\n\naddress = 'a:1'").expect("it is valid").remove(0);
        assert_eq!(entry.position.as_deref(), Some("/etc/chat/callsign.toml:3:11"));
    }

    #[test]
    fn a_wrong_entry_gets_its_line_and_column() {
        const UNIX_ONLY: &str = "and the key is for Unix sockets (unix:PATH) only";
        const MODE: &str = "expected permissions in octal, at most 777, such as \"660\"";
        const OWNER: &str =
            "expected a user, or a user and a group, such as \"www-data\" or \"chat:www-data\"";
        for (text, message) in [
            (
                "listen = 'unix:'",
                "1:10: `listen` at the top level: found string `'unix:'`, expected unix:PATH, such as \
                 unix:/run/chat.sock"
                    .to_owned(),
            ),
            (
                "listen = [\n  'unix:a.sock?user=www'\n]",
                "2:3: `listen` at the top level: found string `'unix:a.sock?user=www'`, expected unix:PATH with no \
                 parameter but `mode`, such as unix:/run/chat.sock?mode=660"
                    .to_owned(),
            ),
            (
                "workers = 1\nlisten = 'unix:a.sock?mode=888'",
                "2:10: `listen` at the top level: found string `'unix:a.sock?mode=888'`, expected \
                 unix:PATH?mode=MODE with MODE in octal, at most 777, such as unix:/run/chat.sock?mode=660"
                    .to_owned(),
            ),
            ("[listen]\naddress = 'a:1'", format!("1:1: `listen` at the top level: found a table, {EXPECTED}")),
            ("\n[[listen]]\nmode = '660'", "2:1: `address` is missing in [[listen]]".to_owned()),
            (
                "[[listen]]\naddress = 80",
                "2:11: `address` in [[listen]]: found integer `80`, expected HOST:PORT, such as 127.0.0.1:8080, \
                 0.0.0.0:80 or [::1]:8080"
                    .to_owned(),
            ),
            (
                "[[listen]]\naddress = 'a:1'\nadress = 'b:1'",
                "3:1: unknown key `adress` in [[listen]]; did you mean `address`?".to_owned(),
            ),
            (
                "[[listen]]\naddress = 'a:1'\nmode = '660'",
                format!("3:8: `mode` in [[listen]]: found string `'660'`, {UNIX_ONLY}"),
            ),
            (
                "[[listen]]\naddress = 'a:1'\nowner = 'b'",
                format!("3:9: `owner` in [[listen]]: found string `'b'`, {UNIX_ONLY}"),
            ),
            (
                "[[listen]]\naddress = 'a:1'\nproxy_protocol = 'on'",
                "3:18: `proxy_protocol` in [[listen]]: found string `'on'`, expected true or false".to_owned(),
            ),
            (
                "[[listen]]\naddress = 'unix:a'\nmode = 660",
                format!("3:8: `mode` in [[listen]]: found integer `660`, {MODE}"),
            ),
            (
                "[[listen]]\naddress = 'unix:a'\nmode = 'u=rw'",
                format!("3:8: `mode` in [[listen]]: found string `'u=rw'`, {MODE}"),
            ),
            (
                "[[listen]]\naddress = 'unix:a'\nowner = ':www'",
                format!("3:9: `owner` in [[listen]]: found string `':www'`, {OWNER}"),
            ),
            (
                "[[listen]]\naddress = 'unix:a?mode=660'\nmode = '660'",
                "1:1: the address has a mode too; keep one of `mode` and `?mode=`".to_owned(),
            ),
        ] {
            let error = listen(text).expect_err(text).to_string();
            assert_eq!(error, format!("/etc/chat/callsign.toml:{message}"));
        }
    }
}
