//! The live page in a real browser.

mod browser;

mod basics;
mod past;
mod health;
mod changes;
mod details;
mod services;
mod look;
