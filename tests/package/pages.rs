//! What stands in the documents, for tests that take them at their word.

use std::fs;

/// The one block of docs/`page` in this `language` that holds `words`.
pub fn block(page: &str, language: &str, words: &str) -> String {
    let page = fs::read_to_string(format!("docs/{page}")).expect("there is such a page");
    let fence = format!("```{language}\n");
    let mut blocks = page.split(&fence).skip(1).filter_map(|block| block.split_once("```"));
    let (block, _) = blocks.find(|(block, _)| block.contains(words)).expect("there is such a block");
    block.to_owned()
}
