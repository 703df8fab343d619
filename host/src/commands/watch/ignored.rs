//! Which files are no sources: what git ignores, what the operator ignores with `--ignore`, and what by its name is not
//! written by a person.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::config::regular_file;

/// Patterns as in a .gitignore file, relative to a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    pub folder: PathBuf,
    pub lines: Vec<String>,
}

/// What is ignored.
pub struct Ignored {
    /// Files and folders.
    paths: BTreeSet<PathBuf>,
    /// Whether to ignore what compilers write: objects, libraries, programs.
    products: bool,
    /// Of `--ignore`. They take precedence over all other rules.
    patterns: Gitignore,
    /// Folders whose .gitignore counts, with everything below, even outside of a repository.
    roots: BTreeSet<PathBuf>,
    /// What git's files say, by folder; read when it is needed.
    git: RefCell<BTreeMap<PathBuf, Arc<GitFolder>>>,
}

struct GitFolder {
    /// Of the .gitignore in this folder, and of .git/info/exclude at the top of a repository.
    patterns: Gitignore,
    is_top: bool,
}

impl Ignored {
    pub fn new(
        paths: BTreeSet<PathBuf>,
        products: bool,
        patterns: &Patterns,
        roots: BTreeSet<PathBuf>,
    ) -> Self {
        let mut builder = GitignoreBuilder::new(&patterns.folder);
        for line in &patterns.lines {
            // `parse_pattern` has accepted it.
            let _ = builder.add_line(None, line);
        }
        let patterns = builder.build().unwrap_or_else(|_| Gitignore::empty());
        Self { paths, products, patterns, roots, git: RefCell::default() }
    }

    /// Reads git's files again when they are needed.
    pub fn forget_git(&self) {
        self.git.borrow_mut().clear();
    }

    /// Whether the path itself is ignored. The folders above it have to be asked for too.
    pub fn contains(&self, path: &Path, is_folder: bool) -> bool {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
        match self.patterns.matched(path, is_folder) {
            _ if self.paths.contains(path) => return true,
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
        let by_name = (name.starts_with('.') && name != ".cargo")
            || (is_folder && is_generated_folder(path, &name))
            || (!is_folder && is_editor_file(&name))
            || (!is_folder && self.products && is_product(&name));
        by_name
            || match self.ask_git(path, is_folder) {
                Some(is_ignored) => is_ignored,
                None => !is_folder && is_data(&name),
            }
    }

    /// Whether git ignores the path. None: no pattern is about it.
    fn ask_git(&self, path: &Path, is_folder: bool) -> Option<bool> {
        let (from, is_ignored, is_repository) = self.match_git(path, is_folder)?;
        // A .gitignore above the sources does not count if there is no repository, where it is for something else, or if
        // it ignores the folder of the sources as a whole.
        let counts_in =
            |root: &PathBuf| from.starts_with(root) || (is_repository && !self.is_root_ignored(root));
        let mut roots = self.roots.iter().filter(|root| path.starts_with(root)).peekable();
        let counts = if roots.peek().is_some() { roots.any(counts_in) } else { is_repository };
        counts.then_some(is_ignored)
    }

    /// Whether git ignores a folder of the sources, or one above.
    fn is_root_ignored(&self, root: &Path) -> bool {
        let is_ignored = |folder: &Path| matches!(self.match_git(folder, true), Some((_, true, true)));
        root.ancestors().any(is_ignored)
    }

    /// Finds the pattern of git that is about the path: that of the nearest folder. Returns this folder, whether it
    /// ignores the path, and whether the path is in a repository.
    fn match_git(&self, path: &Path, is_folder: bool) -> Option<(PathBuf, bool, bool)> {
        let mut found = None;
        for folder in path.ancestors().skip(1) {
            let git = self.git_folder(folder);
            if found.is_none() {
                found = match git.patterns.matched(path, is_folder) {
                    Match::None => None,
                    Match::Ignore(_) => Some((folder.to_path_buf(), true)),
                    Match::Whitelist(_) => Some((folder.to_path_buf(), false)),
                };
            }
            if git.is_top {
                return found.map(|(from, is_ignored)| (from, is_ignored, true));
            }
        }
        found.map(|(from, is_ignored)| (from, is_ignored, false))
    }

    fn git_folder(&self, folder: &Path) -> Arc<GitFolder> {
        let read = || {
            let mut builder = GitignoreBuilder::new(folder);
            let is_top = folder.join(".git").exists();
            if is_top {
                add(&mut builder, &folder.join(".git/info/exclude"));
            }
            add(&mut builder, &folder.join(".gitignore"));
            let patterns = builder.build().unwrap_or_else(|_| Gitignore::empty());
            Arc::new(GitFolder { patterns, is_top })
        };
        self.git.borrow_mut().entry(folder.to_path_buf()).or_insert_with(read).clone()
    }
}

/// Adds the patterns in a file of git. A missing file has none; a wrong line does not count, as in git.
fn add(builder: &mut GitignoreBuilder, file: &Path) {
    for line in regular_file::read_to_string(file).unwrap_or_default().lines() {
        let _ = builder.add_line(Some(file.to_path_buf()), line);
    }
}

/// Validates a pattern of `--ignore`. The error states what was expected.
pub fn parse_pattern(text: &str) -> Result<String, String> {
    let is_valid = GitignoreBuilder::new("").add_line(None, text).is_ok();
    match is_valid && !text.trim().is_empty() {
        true => Ok(text.to_owned()),
        false => {
            Err("expected a pattern as in .gitignore, such as '*.csv', 'data/' or '!keep.db'".to_owned())
        }
    }
}

fn is_generated_folder(path: &Path, name: &str) -> bool {
    // Tools mark folders that they can generate again with CACHEDIR.TAG.
    name == "node_modules"
        || path.join("CACHEDIR.TAG").exists()
        || (name == "target" && path.with_file_name("Cargo.toml").exists())
}

/// Whether editors create a file of this name beside the edited file. Names that begin with a dot are ignored anyway.
fn is_editor_file(name: &str) -> bool {
    let suffixes = ["~", "~tmp", ".tmp", ".bak", ".swp", "___jb_tmp___", "___jb_old___"];
    // vim creates 4913 to check whether the folder is writable.
    name == "4913"
        || (name.starts_with('#') && name.ends_with('#'))
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// Whether compilers write files of this name.
fn is_product(name: &str) -> bool {
    let suffixes = [".o", ".lo", ".d", ".so", ".a", ".la", ".dylib", ".gch", ".obj"];
    suffixes.iter().any(|suffix| name.ends_with(suffix)) || name.contains(".so.")
}

/// Whether programs write files of this name while they run: logs and databases.
fn is_data(name: &str) -> bool {
    let suffixes = [".log", ".pid", ".db", ".sqlite", ".sqlite3", "-journal", "-wal", "-shm"];
    suffixes.iter().any(|suffix| name.ends_with(suffix)) || name.contains(".log.")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Whether a file is ignored, or a folder between it and `root`.
    fn ignores(ignored: &Ignored, root: &Path, file: &str) -> bool {
        let path = root.join(file);
        let between = path.ancestors().take_while(|ancestor| *ancestor != root);
        between.enumerate().any(|(depth, path)| ignored.contains(path, depth > 0))
    }

    fn ignored(root: &Path, patterns: &[&str]) -> Ignored {
        let lines = patterns.iter().map(|line| (*line).to_owned()).collect();
        let patterns = Patterns { folder: root.to_owned(), lines };
        Ignored::new(BTreeSet::new(), false, &patterns, [root.to_owned()].into())
    }

    #[test]
    fn the_nearest_gitignore_decides_up_to_the_top_of_the_repository() {
        let top = tempfile::tempdir().expect("a folder can be made");
        let root = top.path().join("repository/plugin");
        for (file, text) in [
            ("repository/.git/info/exclude", "excluded.txt\n"),
            ("repository/.gitignore", "*.csv\n/plugin/state.json\nout/\n"),
            ("repository/plugin/assets/.gitignore", "!kept.csv\n"),
            (".gitignore", "*.c\n"),
        ] {
            let file = top.path().join(file);
            fs::create_dir_all(file.parent().expect("it has one")).expect("it can be written");
            fs::write(file, text).expect("it can be written");
        }
        let rules = ignored(&root, &[]);
        for file in
            ["a.csv", "assets/b.csv", "state.json", "out/c.c", "excluded.txt", "chat.log", "chat.db-wal"]
        {
            assert!(ignores(&rules, &root, file), "{file}");
        }
        for file in ["a.c", "assets/kept.csv", "assets/state.json", "page.html", ".cargo/config.toml"] {
            assert!(!ignores(&rules, &root, file), "{file}");
        }
        // Without a repository, only the plugin's own .gitignore counts.
        fs::remove_dir_all(top.path().join("repository/.git")).expect("it exists");
        fs::write(root.join(".gitignore"), "own.txt\n").expect("it can be written");
        rules.forget_git();
        assert!(!ignores(&rules, &root, "a.csv") && !ignores(&rules, &root, "a.c"));
        assert!(ignores(&rules, &root, "own.txt"));
    }

    #[test]
    fn sources_that_git_ignores_as_a_whole_are_sources() {
        let top = tempfile::tempdir().expect("a folder can be made");
        let root = top.path().join("scratch/plugin");
        fs::create_dir_all(top.path().join(".git")).expect("it can be written");
        fs::create_dir_all(&root).expect("it can be written");
        fs::write(root.join(".gitignore"), "own.txt\n").expect("it can be written");
        for pattern in ["/scratch/**", "scratch/", "plugin"] {
            fs::write(top.path().join(".gitignore"), format!("{pattern}\n*.csv\n"))
                .expect("it can be written");
            let rules = ignored(&root, &[]);
            assert!(!ignores(&rules, &root, "plugin.c") && !ignores(&rules, &root, "a.csv"), "{pattern}");
            assert!(ignores(&rules, &root, "own.txt"), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_of_the_operator_takes_precedence() {
        let top = tempfile::tempdir().expect("a folder can be made");
        let root = top.path();
        fs::write(root.join(".gitignore"), "*.txt\n").expect("it can be written");
        let rules = ignored(root, &["*.json", "/data/", "!geo.db", "!words.txt", "!.env"]);
        for file in ["a.json", "deep/b.json", "data/x.c", "other.txt", "other.db", ".envrc"] {
            assert!(ignores(&rules, root, file), "{file}");
        }
        for file in ["geo.db", "words.txt", ".env", "deep/data/x.c"] {
            assert!(!ignores(&rules, root, file), "{file}");
        }
        assert!(parse_pattern("*.csv").is_ok());
        assert!(parse_pattern("").is_err() && parse_pattern("a{b").is_err());
    }
}
