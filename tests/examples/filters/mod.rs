//! The examples that read stdin and write stdout do what their headers say.

mod decode;
mod encode;
mod filter;

use std::process::Output;

use self::filter::Filter;

fn encode(stdin: &[u8]) -> Output {
    Filter::start("encode", &[]).run(stdin)
}

fn decode(arguments: &[&str], stdin: &[u8]) -> Output {
    Filter::start("decode", arguments).run(stdin)
}
