//! Whatever a line of JSON has beside what is asked for, it takes no memory: a rank reads lines of 16 MiB.

use halfpi_data::Content;
use halfpi_tests::alloc::{CountingAllocator, peak_bytes_during};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn a_line_takes_no_more_than_its_text() {
    let zeros = format!("[{}0]", "0,".repeat(1 << 20));
    let message = r#"{"role": "assistant", "content": "x""#;
    let cases = [
        (true, format!(r#"{{"text": "x", "ids": {zeros}}}"#)),
        (
            true,
            format!(r#"{{"messages": [{message}, "ids": {zeros}}}], "ids": {zeros}}}"#),
        ),
        (
            true,
            format!(r#"{{"messages": [{message}, "tool_calls": [{{"name": "f", "ids": {zeros}}}]}}]}}"#),
        ),
        (
            true,
            format!(r#"{{"messages": [{message}}}], "tools": [{{"name": "f", "ids": {zeros}}}]}}"#),
        ),
        // What cannot be used is not held either.
        (false, zeros.clone()),
        (false, format!(r#"{{"text": {zeros}}}"#)),
        (false, format!(r#"{{"messages": {zeros}}}"#)),
        (
            false,
            format!(r#"{{"messages": [{{"role": "user", "content": {zeros}}}]}}"#),
        ),
        (
            false,
            format!(r#"{{"messages": [{message}, "tool_calls": {zeros}}}]}}"#),
        ),
        (
            false,
            format!(r#"{{"messages": [{message}, "tool_calls": [{{"name": "f", "arguments": {zeros}}}]}}]}}"#),
        ),
        (false, format!(r#"{{"messages": [{message}}}], "tools": {zeros}}}"#)),
    ];
    for (is_content, line) in cases {
        let mut read = None;
        let peak = peak_bytes_during(|| read = Some(Content::parse(line.as_bytes(), "text")));
        let read = read.unwrap();
        let (begin, _) = line.split_at(80);
        assert_eq!(read.is_ok(), is_content, "{begin}…: {read:?}");
        assert!(peak < 1 << 16, "{begin}… takes {peak} bytes");
    }
}
