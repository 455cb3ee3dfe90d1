//! The words that codes are made of: 256 that are easy to say and to tell apart, no two of which begin with the same four
//! letters.

/// The words, in order.
pub(super) const WORDS: [&str; 256] = [
    "acorn", "actor", "album", "alley", "almond", "amber", "anchor", "ankle", "apple", "apron", "arrow", "atlas",
    "attic", "autumn", "bacon", "badge", "bagel", "bakery", "bamboo", "banana", "banjo", "barrel", "basket", "beach",
    "beaver", "berry", "bishop", "border", "bottle", "branch", "breeze", "bridge", "bubble", "bucket", "butter",
    "cabin", "cactus", "camel", "canary", "candle", "canyon", "carpet", "carrot", "castle", "cavern", "cellar",
    "cement", "cereal", "cherry", "chimney", "cinema", "circle", "citrus", "clover", "cobalt", "coconut", "coffee",
    "comet", "compass", "copper", "coral", "corner", "cotton", "cousin", "coyote", "cradle", "crater", "cricket",
    "crystal", "curtain", "cushion", "daisy", "dancer", "dinner", "doctor", "dolphin", "donkey", "dragon", "drawer",
    "dream", "driver", "eagle", "earth", "elbow", "emerald", "engine", "evening", "fabric", "falcon", "farmer",
    "feather", "ferry", "fiddle", "finger", "flower", "forest", "fossil", "fridge", "galaxy", "garage", "garden",
    "garlic", "giant", "ginger", "giraffe", "glacier", "goblin", "golden", "grape", "gravity", "guitar", "hammer",
    "harbor", "harvest", "hazel", "helmet", "hermit", "hockey", "honey", "hotel", "iceberg", "igloo", "insect",
    "island", "ivory", "jacket", "jaguar", "jasmine", "jelly", "jigsaw", "journey", "jungle", "kayak", "kettle",
    "kidney", "kitchen", "kitten", "koala", "ladder", "lagoon", "lantern", "laptop", "lemon", "leopard", "library",
    "lizard", "lobster", "locket", "lumber", "magnet", "mango", "maple", "marble", "market", "meadow", "melon",
    "mermaid", "meteor", "mirror", "monkey", "mosaic", "muffin", "museum", "napkin", "needle", "nickel", "noodle",
    "nutmeg", "oasis", "ocean", "octopus", "olive", "onion", "orange", "orchid", "otter", "oxygen", "oyster", "paddle",
    "palace", "panda", "parrot", "peanut", "pebble", "pelican", "pencil", "pepper", "piano", "picnic", "pigeon",
    "pillow", "pirate", "planet", "pocket", "pony", "potato", "prairie", "puddle", "pumpkin", "puzzle", "python",
    "quartz", "rabbit", "radish", "rainbow", "ranger", "raven", "ribbon", "river", "robin", "rocket", "rooster",
    "saddle", "salmon", "sandal", "saturn", "seagull", "shadow", "silver", "siren", "spider", "spinach", "stadium",
    "summer", "sunset", "swallow", "tailor", "teapot", "temple", "thunder", "ticket", "tiger", "timber", "toffee",
    "tomato", "tractor", "trumpet", "tulip", "tunnel", "turtle", "valley", "vanilla", "velvet", "violin", "volcano",
    "waffle", "walnut", "walrus", "whisper", "willow", "window", "winter", "wizard", "yogurt", "zebra", "zipper",
];

/// How many letters say which word it is.
const TELLING: usize = 4;

/// The place of a word, of which the first four letters count; capitals are read as well.
pub(super) fn place_of(word: &str) -> Option<u8> {
    let told = |word: &str| word.chars().take(TELLING).flat_map(char::to_lowercase).collect::<String>();
    let wanted = told(word);
    // Nobody says a word by fewer letters than tell it apart, unless it has no more.
    let found = WORDS.iter().position(|known| told(known) == wanted)?;
    u8::try_from(found).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_words_begin_alike_and_all_can_be_typed() {
        let beginnings: BTreeSet<&str> = WORDS.iter().map(|word| &word[..TELLING]).collect();
        assert_eq!(beginnings.len(), WORDS.len());
        assert!(WORDS.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()) && word.len() <= 9));
        assert!(WORDS.is_sorted());
        assert_eq!(
            (place_of("ZEBRA"), place_of("kangaroo"), place_of("ze"), place_of("")),
            (place_of("zebra"), None, None, None)
        );
    }
}
