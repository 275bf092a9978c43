//! The recipes of docs/token-service.md, for tests that follow them to the letter.

/// The blocks of a language from the recipe for that consumer on, with `issuer` in place of the example's.
pub fn blocks(consumer: &str, language: &str, issuer: &str) -> Vec<String> {
    let docs = include_str!("../../../docs/token-service.md");
    let (_, recipe) = docs.split_once(&format!("**{consumer}**")).expect("there is a recipe");
    let opening = format!("```{language}\n");
    let blocks = recipe.split(&opening).skip(1);
    let blocks = blocks.filter_map(|block| Some(block.split_once("```")?.0));
    blocks.map(|block| block.replace(EXAMPLE, issuer)).collect()
}

const EXAMPLE: &str = "https://auth.example.com";
