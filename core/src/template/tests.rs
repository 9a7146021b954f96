use super::*;
use crate::tools::{ToolDeclaration, ToolFormat};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Deserialize)]
struct Golden {
    template: String,
    bos_token: String,
    eos_token: String,
    now: i64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    messages: Vec<Message>,
    add_generation_prompt: bool,
    #[serde(default)]
    tools: Vec<ToolDeclaration>,
    thinking: Option<bool>,
    text: Option<String>,
    refused: Option<String>,
    failed: Option<bool>,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every template in testdata, over every conversation, against what Python's Jinja2 made of it.
#[test]
fn renders_as_jinja2() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(repository().join("tests/golden/template")).unwrap() {
        let golden: Golden = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/template/testdata")
            .join(&golden.template);
        let source = std::fs::read_to_string(source).unwrap();
        let template = ChatTemplate::new(&source, &golden.bos_token, &golden.eos_token)
            .unwrap()
            .with_now(golden.now);
        for case in &golden.cases {
            let ours = template.render_conversation(&Conversation {
                messages: &case.messages,
                tools: &case.tools,
                thinking: case.thinking,
                add_generation_prompt: case.add_generation_prompt,
            });
            let place = format!("{} with {:?}", golden.template, case.messages);
            match (&case.text, &case.refused, case.failed) {
                (Some(text), _, _) => assert_eq!(ours.as_deref(), Ok(text.as_str()), "{place}"),
                (_, Some(message), _) => {
                    assert_eq!(
                        ours,
                        Err(TemplateError::Refused {
                            message: message.clone()
                        }),
                        "{place}"
                    );
                }
                (_, _, failed) => {
                    assert_eq!(failed, Some(true));
                    assert!(matches!(ours, Err(TemplateError::Failed { .. })), "{place}: {ours:?}");
                }
            }
        }
        names.push(golden.template);
    }
    assert!(names.len() >= 18, "goldens are missing: {names:?}");
}

fn hello() -> Vec<Message> {
    vec![Message::new(Role::User, "Hello")]
}

/// Compiles and renders on the stack of a phone's background thread. The time only tells an end from none: it is far above
/// what any of them takes, on an emulated and busy machine too.
fn run_small(source: String) -> Result<String, TemplateError> {
    let started = Instant::now();
    let label: String = source.chars().take(80).collect();
    let result = std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(move || ChatTemplate::new(&source, "<s>", "</s>")?.render(&hello(), true))
        .unwrap()
        .join()
        .unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(120),
        "{label}: {:?}",
        started.elapsed()
    );
    result
}

#[test]
fn endless_templates_end() {
    use TemplateError::{TooExpensive, TooLarge, Unsupported};
    let nested_loops = "{% for i in range(9999) %}".repeat(5) + "x" + &"{% endfor %}".repeat(5);
    let twice = |start: &str, step: &str| {
        format!(
            "{{% set ns = namespace(x={start}) %}}{{% for i in range(100) %}}{{% set ns.x = {step} %}}{{% endfor %}}"
        )
    };
    let sources: Vec<(String, &str)> = [
        ("{% for i in range(10**9) %}x{% endfor %}", "large"),
        ("{% for i in range(0 - 10**18, 10**18, 3) %}x{% endfor %}", "large"),
        (nested_loops.as_str(), "expensive"),
        ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "expensive"),
        (
            "{% for a in [[[]]] recursive %}{{ loop([[1]]) }}{% endfor %}",
            "expensive",
        ),
        // Strings: doubled, repeated, replaced, joined, padded, captured, and folded by the compiler.
        (&twice("'ab'", "ns.x ~ ns.x"), "large"),
        (&twice("'ab'", "ns.x + ns.x"), "large"),
        (&twice("'ab'", "ns.x * 2"), "large"),
        (&twice("'ab'", "'%s%s' | format(ns.x, ns.x)"), "large"),
        (&twice("'ab'", "'{}{}'.format(ns.x, ns.x)"), "large"),
        (&twice("'ab'", "[ns.x, ns.x] | join"), "large"),
        (&twice("'ab'", "''.join([ns.x, ns.x])"), "large"),
        (&twice("'ab'", "ns.x.replace('a', ns.x)"), "large"),
        (&twice("'ab'", "ns.x | replace('', ns.x)"), "large"),
        (&twice("'ab'", "[ns.x, ns.x] | tojson"), "large"),
        (&twice("'ab'", "[ns.x, ns.x] | string"), "large"),
        (
            "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set c %}{{ ns.x }}{{ ns.x }}{% endset %}\
          {% set ns.x = c %}{% endfor %}",
            "large",
        ),
        ("{{ 'a' * 1000000000 }}", "large"),
        ("{{ 99999999 * 'a' }}", "large"),
        ("{{ ('a' * 99999999) ~ ('b' * 99999999) }}", "large"),
        ("{{ [1] * 99999999 }}", "large"),
        ("{{ (1, 2) * 99999999 }}", "large"),
        ("{{ 'x' | indent(1000000000) }}", "large"),
        ("{{ 'x\\ny' | indent(width=1000000000) }}", "large"),
        ("{{ [1] | tojson(indent=1000000000) }}", "large"),
        ("{{ messages | tojson(separators=(',' * 4000000, ':')) }}", "large"),
        ("{{ '%1000000000d' | format(1) }}", "unsupported"),
        ("{{ '%*d' | format(1000000000, 1) }}", "unsupported"),
        ("{{ '{:1000000000}'.format(1) }}", "unsupported"),
        ("{{ '{:{}}'.format(1, 1000000000) }}", "unsupported"),
        ("{{ ('x' * 4000000).strip('x' * 4000000) }}", "large"),
        ("{{ ('x' * 4000000).split('x') }}", "large"),
        ("{{ ('x' * 4000000) | list }}", "large"),
        (
            "{% set s = 'x' * 4000000 %}{% for i in range(9999) %}{{ 'y' in s }}{% endfor %}",
            "large",
        ),
        (
            "{% set s = 'x' * 4000000 %}{% for i in range(9999) %}{{ s[3999999] }}{% endfor %}",
            "large",
        ),
        (
            "{% set s = 'x' * 4000000 %}{% for i in range(9999) %}{{ s[-1:] }}{% endfor %}",
            "large",
        ),
        (
            "{% set s = 'x' * 4000000 %}{% for i in range(9999) %}{{ s is upper }}{% endfor %}",
            "large",
        ),
        // Lists: doubled, nested, shared inside each other, printed, compared.
        (&twice("[1]", "ns.x + ns.x"), "large"),
        (&twice("[1]", "[ns.x, ns.x]"), "either"),
        (&twice("[1]", "{'a': ns.x, 'b': ns.x}"), "either"),
        (&twice("[1]", "(ns.x, ns.x)"), "either"),
        (&twice("[1]", "[ns.x]"), "expensive"),
        (&twice("[1]", "dict(a=ns.x)"), "expensive"),
        (&twice("[1]", "{'a': ns.x}.items()"), "expensive"),
        ("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "unsupported"),
        (
            "{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}",
            "unsupported",
        ),
        ("{% set ns = namespace(x=namespace()) %}", "unsupported"),
        ("{% set ns = namespace() %}{{ [[ns]] }}", "unsupported"),
        // What templates do not get.
        ("{% include '/etc/passwd' %}", "unsupported"),
        ("{% import 'x' as y %}", "unsupported"),
        ("{% extends 'x' %}", "unsupported"),
        ("{% block b %}{% endblock %}", "unsupported"),
        ("{{ debug() }}", "unsupported"),
        ("{{ f(*range(9)) }}", "unsupported"),
        ("{{ ''.__class__.__mro__ }}", "failed"),
        ("{{ messages.append(1) }}", "unsupported"),
        ("{{ strftime_now('%Q') }}", "unsupported"),
        ("{{ strftime_now('%Y' * 1000) }}", "large"),
        ("{{ raise_exception('no') }}", "refused"),
        ("{% if %}", "syntax"),
        ("{{ 'unclosed }}", "syntax"),
    ]
    .map(|(source, kind): (&str, &str)| (source.to_string(), kind))
    .to_vec();
    for (source, kind) in sources {
        let result = run_small(source.clone());
        let as_expected = match kind {
            "large" => matches!(result, Err(TooLarge { .. })),
            "expensive" => matches!(result, Err(TooExpensive { .. })),
            "either" => matches!(result, Err(TooLarge { .. } | TooExpensive { .. })),
            "unsupported" => matches!(result, Err(Unsupported { .. })),
            "failed" => matches!(result, Err(TemplateError::Failed { .. })),
            "refused" => result == Err(TemplateError::Refused { message: "no".into() }),
            _ => matches!(result, Err(TemplateError::Syntax { .. })),
        };
        assert!(as_expected, "{source}\nshould be {kind}, is {result:?}");
    }
}

/// Sources whose shape alone would overflow the compiler's stack.
#[test]
fn deep_sources_are_refused() {
    let n = 20_000;
    for source in [
        format!("{{{{ 1{} }}}}", "+1".repeat(n)),
        format!("{{{{ x{} }}}}", ".a".repeat(n)),
        format!("{{{{ x{} }}}}", "|upper".repeat(n)),
        format!("{{{{ x{} }}}}", "[0]".repeat(n)),
        format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
        format!("{{{{ {}1{} }}}}", "[".repeat(n), "]".repeat(n)),
        format!("{{{{ {}1 }}}}", "-".repeat(n)),
        format!("{{{{ {}1 }}}}", "not ".repeat(n)),
        format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(n)),
        format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(n)),
        format!("{}{}", "{% if x %}".repeat(n / 2), "{% endif %}".repeat(n / 2)),
        format!("{}{}", "{% for x in y %}".repeat(n / 4), "{% endfor %}".repeat(n / 4)),
        "x".repeat(MAX_SOURCE_BYTES + 1),
    ] {
        let label: String = source.chars().take(40).collect();
        let result = run_small(source);
        assert!(result.is_err(), "{label}");
    }
    // The longest admitted expression of each kind compiles and runs on the same stack.
    for source in [
        format!("{{{{ 1{} }}}}", "+1".repeat(250)),
        format!("{{{{ 'a'{} }}}}", "~'a'".repeat(250)),
        format!("{{{{ 'x'{} }}}}", "|upper".repeat(250)),
        format!("{{% if false %}}{}{{% endif %}}", "{% elif false %}".repeat(60)),
        format!("{}{}", "{% if true %}".repeat(60), "{% endif %}".repeat(60)),
    ] {
        run_small(source).unwrap();
    }
}

/// Long conversations and long documents are not mistaken for attacks.
#[test]
fn long_conversations_render() {
    for name in ["qwen3", "llama3.1", "mistral-v0.3", "smollm2", "gemma3", "macros"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/template/testdata/{name}.jinja"));
        let template = ChatTemplate::new(&std::fs::read_to_string(source).unwrap(), "<s>", "</s>").unwrap();
        let padding = "at some length. ".repeat(40);
        let role = |i| if i % 2 == 0 { Role::User } else { Role::Assistant };
        let many: Vec<Message> = (0..1000)
            .map(|i| Message::new(role(i), format!("turn {i}, {padding}")))
            .collect();
        let text = template
            .render(&many, true)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains("turn 999,"), "{name}");
        let mut document = hello();
        document[0].content = "wörter ".repeat(500_000);
        // The system message first, because one of the templates shows what comes after the first message.
        document.insert(0, Message::new(Role::System, "Read this."));
        assert!(template.render(&document, true).unwrap().len() > 3_500_000, "{name}");
    }
}

#[test]
fn chatml_is_the_fallback() {
    let text = ChatTemplate::chatml().render(&hello(), true).unwrap();
    assert_eq!(text, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn errors_say_where() {
    let broken = ChatTemplate::new("line one\n{% if x %}\n", "", "").unwrap_err();
    assert!(
        matches!(broken, TemplateError::Syntax { line: 2 | 3, .. }),
        "{broken:?}"
    );
    let failing = ChatTemplate::new("\n\n{{ nothing.at.all }}", "", "")
        .unwrap()
        .render(&hello(), true)
        .unwrap_err();
    assert!(matches!(failing, TemplateError::Failed { line: 3, .. }), "{failing:?}");
}

/// What the guards rely on, and a new version of minijinja could change.
#[test]
fn namespaces_are_recognized() {
    let namespace = minijinja::functions::namespace(None).unwrap();
    assert!(meter::is_namespace(&namespace));
    assert!(!meter::is_namespace(&Value::from_pairs([("a", 1)])));
}

/// What the real templates teach their models.
#[test]
fn abilities_are_found_in_templates() {
    let read = |name: &str| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/template/testdata/{name}.jinja"));
        ChatTemplate::new(&std::fs::read_to_string(source).unwrap(), "<s>", "</s>").unwrap()
    };
    for (name, format) in [
        ("qwen2.5", Some(ToolFormat::Hermes)),
        ("qwen3", Some(ToolFormat::Hermes)),
        ("tools-llama", Some(ToolFormat::Llama)),
        ("tools-mistral", Some(ToolFormat::Mistral)),
        ("llama3.1", None),
        ("smollm2", None),
        ("zephyr", None),
        ("llama3", None),
        ("bitnet-b1.58-2b4t", None),
    ] {
        assert_eq!(read(name).tool_format(), format, "{name}");
        assert_eq!(read(name).supports_tools(), format.is_some(), "{name}");
    }
    let tags = ThinkingTags {
        open: "<think>",
        close: "</think>",
    };
    assert_eq!(read("qwen3").thinking_tags(), Some(tags));
    assert_eq!(read("qwen2.5").thinking_tags(), None);
    assert!(!ChatTemplate::chatml().supports_tools() && !ChatTemplate::chatml().supports_thinking());
    // Naming the format is not enough: the tools have to be shown.
    let blind = ChatTemplate::new("{# <tool_call> #}{{ messages[0].content }}", "", "").unwrap();
    assert!(!blind.supports_tools());
}

/// A template that shows tools and loops over what is in them ends like any other.
#[test]
fn hostile_tools_end() {
    let tool = |parameters: String| ToolDeclaration {
        name: "t".into(),
        description: String::new(),
        parameters,
    };
    let show = |source: &str, tool: ToolDeclaration| {
        ChatTemplate::new(source, "", "")
            .unwrap()
            .render_conversation(&Conversation {
                messages: &hello(),
                tools: &[tool],
                ..Conversation::default()
            })
    };
    let all = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}";
    let deep = "{\"a\":".repeat(40) + "{}" + &"}".repeat(40);
    assert!(matches!(show(all, tool(deep)), Err(TemplateError::TooExpensive { .. })));
    let wide = serde_json::json!({"enum": vec!["value"; 20_000]}).to_string();
    assert!(show(all, tool(wide)).unwrap().len() > 20_000 * 7);
    let again = "{% for i in range(9999) %}{{ tools | tojson }}{% endfor %}";
    let wide = serde_json::json!({"enum": vec!["value"; 20_000]}).to_string();
    assert!(matches!(show(again, tool(wide)), Err(TemplateError::TooLarge { .. })));
    // JSON that is none is a text.
    assert_eq!(show(all, tool("{".into())).unwrap().matches("\"{\"").count(), 1);
}
