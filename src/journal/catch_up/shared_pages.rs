//! The last pages, shared by clients that come to the same place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::Position;
use crate::journal::page::Page;

/// How many pages are kept for whoever comes to the same place next.
const SHARED_PAGES: usize = 16;
/// How long a page is kept that led up to what was visible when it was read.
const LAST_PAGE_LIFE: Duration = Duration::from_secs(1);

/// A page for a client that goes on with the replay buffer behind it.
#[derive(Clone, Debug)]
pub struct SharedPage {
    /// The page.
    pub page: Arc<Page>,
    /// The number of the next event in the replay buffer when reading it began: those
    /// before it were visible to the page.
    pub head: u64,
}

/// The last pages, the positions that they begin at, and when they were kept.
#[derive(Debug, Default)]
pub(super) struct SharedPages(VecDeque<(Position, SharedPage, Instant)>);

impl SharedPages {
    pub(super) fn find(&mut self, from: &Position) -> Option<SharedPage> {
        self.0.retain(|(_, shared, kept_at)| {
            !shared.page.reached_now || kept_at.elapsed() < LAST_PAGE_LIFE
        });
        let found = self.0.iter().find(|(begin, ..)| begin == from);
        found.map(|(_, shared, _)| shared.clone())
    }

    pub(super) fn keep(&mut self, from: &Position, shared: &SharedPage) {
        if self.find(from).is_none() {
            self.0.truncate(SHARED_PAGES - 1);
            self.0
                .push_front((from.clone(), shared.clone(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Watermark;

    fn at(max_id: i64) -> Position {
        Position::after(Arc::new(Watermark {
            max_id,
            ..Watermark::nothing()
        }))
    }

    fn page(end: Position, reached_now: bool) -> SharedPage {
        let page = Page {
            events: Vec::new(),
            rows: 0,
            silent: Vec::new(),
            end,
            reached_now,
            kept_from: None,
        };
        SharedPage {
            page: Arc::new(page),
            head: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_page_is_shared_while_it_is_fresh() {
        let mut pages = SharedPages::default();
        pages.keep(&at(1), &page(at(2), false));
        pages.keep(&at(2), &page(at(3), true));
        for place in [1, 2] {
            assert!(pages.find(&at(place)).is_some(), "{place}");
        }
        assert!(pages.find(&at(3)).is_none());
        tokio::time::advance(LAST_PAGE_LIFE).await;
        assert!(pages.find(&at(1)).is_some());
        assert!(pages.find(&at(2)).is_none(), "others were visible since");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_pages_are_shared() {
        let mut pages = SharedPages::default();
        let count = i64::try_from(SHARED_PAGES).expect("a few");
        for place in 0..=count {
            pages.keep(&at(place), &page(at(place + 1), false));
        }
        let shared: Vec<i64> = (0..=count)
            .filter(|place| pages.find(&at(*place)).is_some())
            .collect();
        assert_eq!(shared, (1..=count).collect::<Vec<_>>());
    }
}
