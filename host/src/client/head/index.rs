//! Where the headers of the head are that was looked into last. One index for a worker, so that an idle connection keeps
//! none; it is made again when another head is looked into. The text of a head enters, positions in it leave.
//!
//! Invariant: a head calls [`forget`] before its memory is freed, because the index knows it by its address.

use std::cell::RefCell;

thread_local! {
    static INDEX: RefCell<Index> = const { RefCell::new(Index::empty()) };
}

struct Index {
    /// Address of the text; 0: no head is indexed.
    address: usize,
    /// Where the name and the value of each header begin.
    headers: Vec<(u32, u32)>,
    /// Numbers of the headers, by name and then by number. Empty until a second header is looked up by name: sorting
    /// costs more than one search.
    by_name: Vec<u32>,
    is_searched: bool,
}

/// Positions of name and value of header number `index`.
pub fn header_at(text: &[u8], index: usize) -> Option<(u32, u32)> {
    with(text, |it| it.headers.get(index).copied())
}

/// Position of the value of the first header of that name, in any case.
pub fn header(text: &[u8], name: &[u8]) -> Option<u32> {
    let name = name.to_ascii_lowercase();
    with(text, |it| it.find(text, &name))
}

/// Has to be called before the text's memory is freed.
pub fn forget(text: &[u8]) {
    // The thread may be ending.
    let _ = INDEX.try_with(|index| {
        // Never borrowed here: a head is not dropped during a lookup.
        if let Ok(mut index) = index.try_borrow_mut()
            && index.address == text.as_ptr() as usize
        {
            *index = Index::empty();
        }
    });
}

fn with<T>(text: &[u8], look: impl FnOnce(&mut Index) -> T) -> T {
    INDEX.with_borrow_mut(|index| {
        if index.address != text.as_ptr() as usize {
            *index = Index::of(text);
        }
        look(index)
    })
}

impl Index {
    const fn empty() -> Self {
        Self { address: 0, headers: Vec::new(), by_name: Vec::new(), is_searched: false }
    }

    fn of(text: &[u8]) -> Self {
        let mut ends = text.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at as u32);
        // Peer, path and query.
        let mut begin = ends.by_ref().nth(2).map_or(0, |end| end + 1);
        let mut headers = Vec::new();
        while let (Some(name_end), Some(value_end)) = (ends.next(), ends.next()) {
            headers.push((begin, name_end + 1));
            begin = value_end + 1;
        }
        Self { address: text.as_ptr() as usize, headers, ..Self::empty() }
    }

    fn find(&mut self, text: &[u8], wanted: &[u8]) -> Option<u32> {
        let name = |&(name, value): &(u32, u32)| &text[name as usize..value as usize - 1];
        if !self.is_searched {
            self.is_searched = true;
            return self.headers.iter().find(|header| name(header) == wanted).map(|&(_, value)| value);
        }
        let Self { headers, by_name, .. } = self;
        if by_name.is_empty() {
            by_name.extend(0..headers.len() as u32);
            by_name.sort_by_key(|&number| name(&headers[number as usize]));
        }
        let first = by_name.partition_point(|&number| name(&headers[number as usize]) < wanted);
        let found = &headers[*by_name.get(first)? as usize];
        (name(found) == wanted).then_some(found.1)
    }
}
