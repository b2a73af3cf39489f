//! Floor 2: what happens to one mail, stage by stage. No stage names another stage, none starts a thread; the engine strings them together.

pub mod read;

pub mod envelope;

pub mod dkim;

pub mod parse;

pub mod unpack;

pub mod route;

pub mod plan;

pub mod commit;

pub mod settle;
