//! Carries the data that plugins keep in connections from old generations to new ones. Connections and the hooks of
//! both generations enter. What a commit has to put into connections leaves: restored data, and connections to
//! restart.
//!
//! Invariant: a connection keeps the old generation's data until the commit. Data that a new generation makes is taken
//! out of the connection again, and recorded, also after an error, so that a rollback can release it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};

use crate::client::Client;
use crate::plugin::hooks::{ConnectionData, Hooks, Saved, has_data, swap_data};

/// The data of connections on the way to the new generations.
#[derive(Default)]
pub(super) struct Transfer {
    /// Data that a new generation has made for a connection, with the plugin's index.
    pub restored: Vec<(Rc<Client>, usize, ConnectionData)>,
    /// Connections whose data cannot be carried over. They leave the old generation and start again in the new one.
    pub restarts: Vec<Rc<Client>>,
}

impl Transfer {
    /// Takes the data that a new generation's load hook has put into connections without data.
    pub fn take_new_data(&mut self, index: usize, without_data: Vec<Rc<Client>>) {
        let filled = without_data.into_iter().filter(|c| has_data(&**c));
        self.restored.extend(filled.map(|c| {
            let made = swap_data(&*c, ConnectionData::NONE);
            (c, index, made)
        }));
    }

    /// Saves and restores the data of the connections that have handlers of the plugin with that index. `save` are the
    /// hooks of its old generation, `restore` those of the new one.
    pub fn carry_over(
        &mut self,
        connections: Vec<Rc<Client>>,
        index: usize,
        save: &Hooks,
        restore: &Hooks,
    ) -> Result<()> {
        let has_hooks = save.can_save() && restore.can_restore();
        let same_version = save.state_version != 0 && save.state_version == restore.state_version;
        let uses_plugin = |c: &Rc<Client>| c.callbacks().iter().any(|handler| handler.plugin == index);
        for c in connections.into_iter().filter(uses_plugin).filter(|c| has_data(&**c)) {
            if !has_hooks {
                // With the same version the data stays in the connection, as it is.
                if !same_version {
                    self.restarts.push(c);
                }
                continue;
            }
            let saved = save.save(&*c).map_err(|reason| {
                anyhow!("connection {} ({}): its state cannot be saved: {reason}", c.id(), c.peer())
            })?;
            match saved {
                Saved::NotMine => {}
                Saved::Restart => self.restarts.push(c),
                Saved::State(state) => {
                    let old = swap_data(&*c, ConnectionData::NONE);
                    let result = restore.restore(&*c, save.state_version, &state);
                    let made = swap_data(&*c, old);
                    let error = result.err().map(|reason| {
                        anyhow!(
                            "connection {} ({}): its state cannot be restored: {reason}",
                            c.id(),
                            c.peer()
                        )
                    });
                    self.restored.push((c, index, made));
                    error.map_or(Ok(()), Err)?;
                }
            }
        }
        Ok(())
    }

    /// Settles connections that have handlers of several plugins. Two plugins that restored the same connection are an
    /// error. A connection that one plugin restored does not restart, and no connection restarts twice.
    pub fn check_conflicts<'n>(&mut self, plugin_name: impl Fn(usize) -> &'n String) -> Result<()> {
        let mut owners = HashMap::new();
        for (c, index, _) in &self.restored {
            if let Some(other) = owners.insert(c.id(), *index) {
                bail!(
                    "connection {} ({}): plugins `{}` and `{}` have both saved what is in it; a save hook has to \
                     say what is not its own (NOT_MINE)",
                    c.id(),
                    c.peer(),
                    plugin_name(other),
                    plugin_name(*index)
                );
            }
        }
        let mut seen = HashSet::new();
        self.restarts.retain(|c| !owners.contains_key(&c.id()) && seen.insert(c.id()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::head::Head;
    use crate::client::transport::Transport;
    use crate::plugin::deferred::tests::label;
    use crate::plugin::handler::{Callbacks, Kind};
    use crate::plugin::hooks::tests::{FOREIGN, RESTART, UNRESTORABLE, UNSAVEABLE, fake_hooks, get, put};

    /// A connection with a handler of plugin 0 and this data.
    fn connection(id: u64, data: usize) -> Rc<Client> {
        let head = Head::from_bytes(b"192.0.2.1:5\0/\0\0").expect("three strings are a head");
        let client = Rc::new(Client::requested(head));
        let handlers = Callbacks { onmessage: Some(label(Kind::OnMessage)), ..Callbacks::default() };
        client.open(id, Transport::None, handlers);
        put(&*client, data);
        client
    }

    fn carry_over(connections: &[Rc<Client>], save: &Hooks, restore: &Hooks) -> (Transfer, Result<()>) {
        let mut transfer = Transfer::default();
        let result = transfer.carry_over(connections.to_vec(), 0, save, restore);
        (transfer, result)
    }

    fn restored(transfer: &Transfer) -> Vec<(u64, usize, usize)> {
        transfer.restored.iter().map(|(c, index, data)| (c.id(), *index, data.number())).collect()
    }

    fn ids(clients: &[Rc<Client>]) -> Vec<u64> {
        clients.iter().map(|c| c.id()).collect()
    }

    #[test]
    fn state_is_restored_beside_the_old_data_which_stays_until_the_commit() {
        let connections = [connection(1, 3), connection(2, 0), connection(3, 4)];
        let (transfer, result) = carry_over(&connections, &fake_hooks(true, 1), &fake_hooks(true, 2));
        result.expect("both hooks succeed");
        assert_eq!(restored(&transfer), [(1, 0, 30), (3, 0, 40)]);
        assert_eq!(connections.each_ref().map(|c| get(&**c)), [3, 0, 4]);
        assert!(transfer.restarts.is_empty());
    }

    #[test]
    fn the_save_hook_may_leave_data_alone_or_ask_for_a_restart() {
        let connections = [connection(1, FOREIGN), connection(2, RESTART)];
        let (transfer, result) = carry_over(&connections, &fake_hooks(true, 1), &fake_hooks(true, 1));
        result.expect("neither is an error");
        assert_eq!(restored(&transfer), []);
        assert_eq!(ids(&transfer.restarts), [2]);
    }

    #[test]
    fn without_hooks_data_stays_if_both_generations_have_the_same_version() {
        for (old, new, restarts) in [(1, 1, vec![]), (1, 2, vec![1]), (0, 0, vec![1])] {
            let connections = [connection(1, 3), connection(2, 0)];
            let (transfer, result) =
                carry_over(&connections, &fake_hooks(false, old), &fake_hooks(true, new));
            result.expect("no hook runs");
            assert_eq!(ids(&transfer.restarts), restarts, "versions {old} and {new}");
            assert_eq!(restored(&transfer), []);
            assert_eq!(get(&*connections[0]), 3);
        }
    }

    #[test]
    fn connections_of_other_plugins_are_left_alone() {
        let mut transfer = Transfer::default();
        let hooks = fake_hooks(true, 1);
        transfer.carry_over(vec![connection(1, 3)], 1, &hooks, &hooks).expect("no hook runs");
        assert_eq!(restored(&transfer), []);
    }

    #[test]
    fn a_failed_hook_is_an_error_and_data_that_it_made_is_recorded_for_the_rollback() {
        let hooks = fake_hooks(true, 1);
        let (transfer, result) = carry_over(&[connection(7, UNSAVEABLE)], &hooks, &hooks);
        let reason = result.expect_err("the save hook fails").to_string();
        assert_eq!(reason, "connection 7 (192.0.2.1:5): its state cannot be saved: the hook gave no reason");
        assert_eq!(restored(&transfer), []);

        let connections = [connection(7, UNRESTORABLE)];
        let (transfer, result) = carry_over(&connections, &hooks, &hooks);
        let reason = result.expect_err("the restore hook fails").to_string();
        assert!(reason.starts_with("connection 7 (192.0.2.1:5): its state cannot be restored: "), "{reason}");
        assert_eq!(restored(&transfer), [(7, 0, 90)]);
        assert_eq!(get(&*connections[0]), UNRESTORABLE);
    }

    #[test]
    fn data_of_a_load_hook_waits_for_the_commit() {
        let (filled, empty) = (connection(1, 5), connection(2, 0));
        let mut transfer = Transfer::default();
        transfer.take_new_data(0, vec![filled.clone(), empty]);
        assert_eq!(restored(&transfer), [(1, 0, 5)]);
        assert_eq!(get(&*filled), 0);
    }

    #[test]
    fn two_plugins_must_not_restore_the_same_connection() {
        let names = ["chat".to_owned(), "other".to_owned()];
        let c = connection(1, 5);
        let data = ConnectionData::NONE;
        let mut transfer =
            Transfer { restored: vec![(c.clone(), 0, data), (c, 1, data)], ..Transfer::default() };
        let reason = transfer.check_conflicts(|index| &names[index]).expect_err("both have it").to_string();
        assert!(reason.contains("plugins `chat` and `other` have both saved what is in it"), "{reason}");
    }

    #[test]
    fn a_connection_restarts_once_and_not_at_all_if_another_plugin_restored_it() {
        let (a, b) = (connection(1, 5), connection(2, 5));
        let mut transfer = Transfer {
            restored: vec![(a.clone(), 0, ConnectionData::NONE)],
            restarts: vec![a, b.clone(), b],
        };
        let name = String::new();
        transfer.check_conflicts(|_| &name).expect("no connection was restored twice");
        assert_eq!(ids(&transfer.restarts), [2]);
    }
}
