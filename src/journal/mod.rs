//! The journal of row changes, read as events.
//!
//! There is one way to read it: following live, catching up after a pause and coming back
//! with a position are all [`Reader::page`] from a [`Position`].

pub mod witness;
pub mod watermark;
pub mod key;
pub mod position;
pub mod translate;
pub mod recorded;
pub mod batch;
pub mod bounds;
pub mod page;
pub mod reader;
pub mod told;
pub mod since;
pub mod catch_up;
pub mod replay_buffer;
pub mod retention;

pub use batch::{Batch, JournalEvent};
pub use catch_up::CatchUp;
pub use key::JournalKey;
pub use position::Position;
pub use reader::Reader;
pub use recorded::Recorded;
pub use replay_buffer::ReplayBuffer;
pub use since::{PositionRefused, Since};
pub use told::Told;
pub use watermark::Watermark;
pub use witness::Witness;
