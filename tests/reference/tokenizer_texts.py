"""The strings that the tokenizer goldens are made of: ordinary text first, then everything that breaks tokenizers.

No string has a lone surrogate: Rust strings cannot hold one.
"""

PROSE = [
    "",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness…",
    "Call me Ishmael. Some years ago—never mind how long precisely—having little or no money in my purse, and nothing "
    "particular to interest me on shore, I thought I would sail about a little and see the watery part of the world.",
    "Dr. Smith's appointment is at 3:30 p.m. on Dec. 5th; don't be late!",
    'She said, "I can\'t believe it\'s not butter," and left.',
    "E = mc² is not E=mc^2 is not E = m * c ** 2.",
    "What's the capital of France? Paris. And of Australia? Canberra, not Sydney.",
    "ALL CAPS SHOUTING AND camelCase AND PascalCase AND snake_case AND kebab-case AND SCREAMING_SNAKE",
    "supercalifragilisticexpialidocious antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "one two three\nfour five six\n\nseven eight nine\n\n\nten",
    "1. First item\n2. Second item\n   - nested\n   - nested again\n3. Third item\n",
    "# Title\n\nSome *emphasis*, **strong**, `code` and a [link](https://example.com/a?b=c&d=e#f).\n\n> quote\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "Name:\tValue\nOther:\t\tValue",
    "https://user:pass@www.example.co.uk:8080/path/to/page.html?query=a%20b+c&x=1#frag",
    "someone.else+tag@mail.example.org",
    "a", " a", "a ", " a ", "  a", "   a", "\ta", "\na", "a\n", "ab", "A", "I", "'", "-", ".", "the", " the", "The", " The",
]

CODE = [
    "def fib(n):\n    if n < 2:\n        return n\n    return fib(n - 1) + fib(n - 2)\n",
    "fn main() {\n\tprintln!(\"{:?}\", vec![1u8; 4]);\n}\n",
    "for (int i = 0; i < 10; ++i) { a[i] <<= 2; b->c = !d && e || f; }",
    "<html><body class=\"x\">&nbsp;&lt;p&gt;</body></html>",
    "SELECT * FROM users WHERE name = 'O''Brien' AND age >= 21 -- comment\n",
    "{\"key\": [1, 2.5e-10, true, null], \"nested\": {\"a\": \"b\\n\\u00e9\"}}",
    "const f = async (x) => { await g(x ?? `${y}`); };  // ok\n",
    "if [[ -z \"$FOO\" ]]; then echo \"${BAR:-baz}\" | sed 's/a/b/g' > /dev/null 2>&1; fi",
    "\\begin{equation}\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}\\end{equation}",
    "        deep indentation\n            deeper\n\t\tmixed\t tabs",
    "x=1;y=2;z=x+y;;;;", "!=", "===", "->", "=>", "::", "...", "....", "//", "/*", "*/", "#!/bin/sh", "@#$%^&*()", "~`",
    "0x1F 0b1010 1_000_000 3.14f32 1e-9 0777",
]

NUMBERS = [
    "0", "1", "12", "123", "1234", "12345", "123456", "1234567890", "3.14159265358979", "-273.15", "1,234,567.89",
    "a1", "1a", "a1b2c3", " 1", "  1", "   12", "\n1", "1\n", "2024-11-21T04:05:06Z", "+1 (555) 010-9999", "192.168.0.1",
    "v1.2.3-rc4", "50%", "$9.99", "€1.000,00", "½ ⅓ ¾", "x² y³ zⁿ", "Ⅷ Ⅻ ⅷ", "①②③ ㈠㈡ ㊀", "٠١٢٣٤٥٦٧٨٩", "۰۱۲۳ ۴۵۶",
    "०१२३ ४५६", "๐๑๒๓", "１２３４５ ＡＢＣ", "𝟎𝟏𝟐 𝟙𝟚𝟛", "一二三四五 〇", "1٢3", "12٣45", "١23٤", "1½2", "৳১২৩", "ↂↁ", "🄀🄁", "²³¹",
]

CONTRACTIONS = [
    "I'm you're he's she'll we've they'd can't",
    "I'M YOU'RE HE'S SHE'LL WE'VE THEY'D CAN'T",
    "I’m you’re he’s she’ll we’ve they’d can’t",
    "'s 't 're 've 'm 'll 'd", "'S 'T 'RE 'VE 'M 'LL 'D", "'sa 'ta 'rea 'vea 'ma 'lla 'da", "x's's's", "''s", "'''", "' s",
    "'r 'v 'l 'e 'rx", "'", "a'", "'a", "'ſ don'ſ 'K", "rock'n'roll o'clock 'twas y'all'd've", "'\u0301s", "'1", "'\n", "it's'\n",
    "‘quoted’ “quoted” «quoted» „quoted“", "'Re 'rE 'vE 'lL 'Ll", "5's 5'm", " 's 't", "\n's", "'s\n",
]

WHITESPACE = [
    " ", "  ", "   ", "    ", " " * 7, " " * 16, " " * 33, " " * 100, "\t", "\t\t", "\n", "\n\n", "\n\n\n", "\r", "\r\n", "\r\n\r\n",
    "\n\r", " \n", "\n ", " \n ", "  \n  \n  ", "\t \t \n", "a  b", "a   b", "a\tb", "a\t\tb", "a \tb", "a\t b", "a\n\nb", "a\r\nb",
    "a \r\n b", "a\r\rb", "a \n", "a  \n\n", "x \n\n y", "\x0b\x0c", "a\x0bb\x0cc", "\x85", "a\x85b", "\xa0", "a\xa0b", "a\xa0\xa0b",
    "\u1680a", "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a", "a\u2003b", "a\u2028b\u2029c", "\u202f1\u205f2",
    "\u3000全角\u3000空白", "a \xa0 b", " \u3000 ", "\u200b zero\u200bwidth\u200b", "\u180ea", "\ufeff", "\ufeffHello", "a\ufeffb",
    "...\n\n\n...", "!\r\n", "! \n", "?\n\n\n?", "end.  \nnext", "\t\tindent", "1 \n 2", "1  2", "a \t1",
]

CONTROLS = [
    "\x00", "a\x00b", "\x00\x00\x00", "".join(map(chr, range(0x20))), "".join(map(chr, range(0x7f, 0xa0))), "\x1b[31mred\x1b[0m",
    "\x04", "a\x04b", "t\x04he", " \x04\x06\x13\x14\x16\x1d ", "\x04\x04", "\x7f", "\x08\x08", "a\x1cb\x1db\x1eb\x1fc", "\xad", "so\xadft",
]

SCRIPTS = [
    "Grüße aus München, schöne Straße! ÄÖÜ ß ẞ", "Ça va très bien, à bientôt, où êtes-vous?", "¿Qué tal, señor? ¡Mañana!",
    "Zażółć gęślą jaźń", "Příliš žluťoučký kůň úpěl ďábelské ódy", "Đây là tiếng Việt: ắ ằ ẳ ẵ ặ", "İstanbul ığüşöç",
    "Привет, как дела? Ёлка", "Ελληνικά: Καλημέρα κόσμε", "Հայերեն", "ქართული", "שלום עולם", "שָׁלוֹם", "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ",
    "فارسی‌زبان", "اردو", "नमस्ते दुनिया", "क्षत्रिय", "বাংলা ভাষা", "தமிழ் மொழி", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "සිංහල", "ไทยภาษา กำลัง น้ำ",
    "ພາສາລາວ", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "བོད་སྐད།", "አማርኛ", "ᏣᎳᎩ", "你好，世界！", "繁體中文測試", "日本語のテスト。カタカナ、ひらがな、漢字", "한국어 테스트입니다",
    "ｶﾀｶﾅ ﾊﾝｶｸ", "㍿㌔㌘", "𠀀𠮷𡈽", "한 (jamo)", "Ḽơᶉëᶆ ȋṕšᶙṁ ḍỡḽǭᵳ", "ﬁ ﬂ ﬀ ﬃ ﬆ", "ΑΒΓ αβγ ∑∏∫√∞≈≠≤≥", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝓢𝓬𝓻𝓲𝓹𝓽", "ⓐⓑⓒ ⒶⒷ",
    "𓀀𓁐𓂀", "𐍈𐌰𐌱", "ꙮ", "ʰʷʲ ˈaɪ pʰiː", "mixed русский and English и ещё", "abcабвאבג一二三",
]

EMOJI = [
    "😀", "😀😁😂🤣", "Hello 👋 world 🌍!", "👍🏽", "👩‍👩‍👧‍👦", "👨🏿‍🚀👩🏻‍🔬", "🏳️‍🌈 🏴‍☠️", "🇩🇪🇫🇷🇯🇵", "🇺🇸a🇺", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤️ ❤", "1️⃣2️⃣#️⃣", "☺︎☺️", "🧑‍💻 codes",
    "a😀b", "😀1", "1😀", " 😀", "😀\n", "🫠🫡🫨🩷", "🀄🃏", "♠♥♦♣", "→←↑↓⇒", "┌─┐│└┘", "█▓▒░", "™®©℠", "‰‱", "👁️‍🗨️", "👨‍❤️‍💋‍👨", "🤷🏾‍♂️",
]

MARKS = [
    "e\u0301", "\u0301", "\u0301e", " \u0301", "a\u0308\u0304\u0301\u0323", "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034dA\u036b\u0357\u0334\u0362\u0335\u031c\u0330\u0354L\u0368\u0367\u0369\u0358\u0320G\u0311\u0357\u030e\u0305\u035b\u0341\u0334\u033b\u0348\u034d\u0354\u0339O\u0342\u030c\u030c\u0358\u0328\u0335\u0339\u033b\u031d\u0333",
    "a\u20dd b\u20e3", "n\u0303 vs \u00f1", "A\u030a vs \u00c5 vs \u212b", "\u0f71\u0f72", "\u093e\u093f", "a\u0301b\u0301c\u0301", "1\u0301 2\u0301", "\u0301\u0302\u0303",
    "\u200d\u200c", "a\u200db", "\u2060a", "\ufe0f", "a\ufe0f", "\u034f", "\u0e33\u0e31", "\u3099か\u3099", "q\u0307\u0323 q\u0323\u0307",
]

BIDI = [
    "\u202eabc\u202c", "\u200fabc\u200e", "\u2066abc\u2069", "abc \u202bשלום\u202c def", "שלום abc 123 עולם", "(שלום)", "\u061c\u06dd١٢",
]

UNUSUAL = [
    "\ue000\ue001", "a\uf8ffb", "\U000f0000\U0010fffd", "\ufffd", "\ufffe\uffff", "\U0001ffff", "\u0378\u0379", "\u0ce4x", "a\u0378b", "\U00040000", "!\U00040000!",
    "\U00080000x", "a\U000c0000", "\U00100000", "\U000e0001\U000e0020", "\U000e0100", "\u2fe0", "\ufdd0", "\U0003fffe", "\U00050505 \U00090909", "\u00f1\u00f2\u00c0",
    "Ġ Ċ ĉ Ń ġ", "▁▁ ▁a", "<0x0A> <0xE2>", "\\u0041 \\x41 \\n", "&#x41;", "%00%0a", "﷽", "\u1f600", "ǅ ǈ ǋ", "ʼn ΐ ﬗ",
]

SPECIALS = [
    "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    "<|endoftext|>", "a<|endoftext|>b", " <|im_end|> ", "<|im_end|><|im_end|>", "<|im_end|", "<|im_end|>>", "<<|im_end|>", "|im_end|>", "< |im_end|>", "<|IM_END|>", "<|im_end|>\n\n",
    "x <|im_start|>  y", "  <|im_start|>", "<|im_start|>'s", "don<|im_start|>'t", "1<|im_start|>2", "<repo_name>a<file_sep>b<filename>c", "<reponame><gh_stars>100", "<empty_output>",
    "<jupyter_start><jupyter_text>t<jupyter_code>c<jupyter_output>o<jupyter_script>", "<issue_start><issue_comment><issue_closed>", "<s></s><unk><pad>", "<|eot_id|><end_of_turn>",
    "é<|im_end|>é", "<|im_\x00end|>", "<|im_start|><|im_start|>assistant", "\ufeff<|im_start|>", "<|im_end|>\u0301",
]

LONG = [
    "a" * 25, "a" * 26, "a" * 500, "ab" * 300, "=" * 200, "-" * 81, "." * 30, "!?" * 40, "é" * 100, "あ" * 120, "😀" * 40, "0" * 70, "\n" * 60, "\t" * 40, " \n" * 30, "\u0301" * 50,
    "the" * 80, " the" * 60, "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt. " * 4, "antidisestablishmentarianism" * 6, "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 5,
    "bcdfghjklmnpqrstvwxz" * 8, "<|im_start|>" * 10, "<" * 50, "'s" * 40, "a1" * 60, "\x04a" * 40,
]

TEXTS = list(dict.fromkeys(PROSE + CODE + NUMBERS + CONTRACTIONS + WHITESPACE + CONTROLS + SCRIPTS + EMOJI + MARKS + BIDI + UNUSUAL + SPECIALS + LONG))
