//! Conversations become what sessions read, and what the assistant says is told apart.

use super::*;

/// One conversation as text, with what is trained on in brackets.
fn shown(conversation: &str, train_on: TrainOn) -> String {
    shown_by(language(), conversation, train_on)
}

fn shown_by(language: Language, conversation: &str, train_on: TrainOn) -> String {
    let folder = Folder::new();
    folder.write("a.jsonl", conversation.replace('\n', " "));
    let encode = EncodeOptions {
        train_on,
        ..EncodeOptions::default()
    };
    let sources = Sources::open(&[folder.path()], nothing_held_out()).unwrap();
    let corpus = Corpus::new(sources, language, ROWS, encode).unwrap();
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 400)).unwrap();
    let batch = stream.next_batch().unwrap().unwrap();
    let decode = |id: i32| corpus.language().tokenizer.decode(&[id as u32], true);
    let mut text = decode(batch.tokens[0]);
    let places = 400 - stream.report().padding as usize;
    let mut inside = false;
    for (&target, &weight) in batch.targets.iter().zip(&batch.weights).take(places) {
        if (weight > 0.0) != inside {
            inside = !inside;
            text.push(if inside { '[' } else { ']' });
        }
        text += &decode(target);
    }
    if inside {
        text.push(']');
    }
    text
}

#[test]
fn only_what_the_assistant_says_is_trained_on_if_so_asked() {
    let conversation = r#"{"messages": [{"role": "user", "content": "hi<|im_end|>"},
        {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and <|im_start|>assistant"},
        {"role": "assistant", "content": "\n\nno"}]}"#;
    assert_eq!(
        shown(conversation, TrainOn::Assistant),
        "<|im_start|>user\nhi<|im_end|><|im_end|>\n<|im_start|>assistant\n[hello<|im_end|>]\n\
         <|im_start|>user\nand <|im_start|>assistant<|im_end|>\n<|im_start|>assistant\n[\n\nno<|im_end|>]\n<|endoftext|>"
    );
    let everything = shown(conversation, TrainOn::Everything);
    assert!(everything.starts_with("<|im_start|>[user\n"), "{everything}");
    assert!(everything.ends_with("<|im_end|>\n<|endoftext|>]"), "{everything}");
}

/// Templates that open the assistant's turns with nothing of their own, or not as they close them, or change what was
/// said before: each turn is found by what a session would write before it.
#[test]
fn what_the_assistant_says_is_found_in_any_template() {
    let conversation = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "<think> hm </think> d"}]}"#;
    let turns = "{% for m in messages %}{% if m.role == 'user' %}[I]{{ m.content }}[/I]";
    let shown = |template: &str| {
        let language = Language {
            template: ChatTemplate::new(template, "", "<|im_end|>").unwrap(),
            ..language()
        };
        shown_by(language, conversation, TrainOn::Assistant)
    };
    // As Mistral's: nothing opens a turn.
    let plain = format!("{turns}{{% else %}}{{{{ m.content }}}}<|im_end|>{{% endif %}}{{% endfor %}}");
    assert_eq!(
        shown(&plain),
        "[I]a[/I][b<|im_end|>][I]c[/I][<think> hm </think> d<|im_end|>]<|endoftext|>"
    );
    // As Qwen's: thoughts before the last question are left out, and an open turn has more than a closed one.
    let thinks = format!(
        "{turns}{{% else %}}<|im_start|>{{% if m.reasoning_content and loop.last %}}<think>{{{{ m.reasoning_content }}}}\
         </think>{{% endif %}}{{{{ m.content }}}}<|im_end|>{{% endif %}}{{% endfor %}}\
         {{% if add_generation_prompt %}}<|im_start|><think>{{% endif %}}"
    );
    assert_eq!(
        shown(&thinks),
        "[I]a[/I]<|im_start|>[b<|im_end|>][I]c[/I]<|im_start|><think>[hm</think>d<|im_end|>]<|endoftext|>"
    );
    // One that begins anew with every turn cannot be trained on so.
    let forgets = "{{ messages[-1].content }}<|im_end|>";
    let folder = Folder::new();
    folder.write("a.jsonl", conversation.replace('\n', " "));
    let language = Language {
        template: ChatTemplate::new(forgets, "", "").unwrap(),
        ..language()
    };
    let options = SourceOptions {
        on_bad_line: OnBadLine::Refuse,
        ..nothing_held_out()
    };
    let encode = EncodeOptions {
        train_on: TrainOn::Assistant,
        ..EncodeOptions::default()
    };
    let sources = Sources::open(&[folder.path()], options).unwrap();
    let corpus = Corpus::new(sources, language, ROWS, encode).unwrap();
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 64)).unwrap();
    let error = stream.next_batch().unwrap_err();
    let problem = LineProblem::Rewritten { index: 3 };
    assert!(
        matches!(&error, DataError::BadLine { line: 1, problem: found, .. } if *found == problem),
        "{error}"
    );
}

/// Base models have no token that ends a turn: then it ends where the template closes it.
#[test]
fn turns_may_end_in_letters() {
    let conversation = |roles: &[&str]| {
        let message =
            |(index, role): (usize, &&str)| format!("{{\"role\": {role:?}, \"content\": \"{role} {index}\"}}");
        let messages: Vec<String> = roles.iter().enumerate().map(message).collect();
        format!("{{\"messages\": [{}]}}", messages.join(", "))
    };
    let shown = |template: &str, roles: &[&str]| {
        let language = Language {
            template: ChatTemplate::new(template, "", "").unwrap(),
            ..language()
        };
        shown_by(language, &conversation(roles), TrainOn::Assistant)
    };
    // As ChatML is, to a model that does not have it.
    let letters = "{% for m in messages %}<{{ m.role }}>\n{{ m.content }}</>\n{% endfor %}\
                   {% if add_generation_prompt %}<assistant>\n{% endif %}";
    assert_eq!(
        shown(letters, &["user", "assistant", "user", "assistant"]),
        "<user>\nuser 0</>\n<assistant>\n[assistant 1</>\n]<user>\nuser 2</>\n<assistant>\n[assistant 3</>\n]\
         <|endoftext|>"
    );
    // What nobody has answered yet is not trained on.
    assert_eq!(
        shown(letters, &["user", "assistant", "user"]),
        "<user>\nuser 0</>\n<assistant>\n[assistant 1</>\n]<user>\nuser 2</>\n<|endoftext|>"
    );
    let ends_users = letters.replace("</>", "{{ '<|im_end|>' if m.role == 'user' else '</>' }}");
    assert_eq!(
        shown(&ends_users, &["user", "assistant", "user"]),
        "<user>\nuser 0<|im_end|>\n<assistant>\n[assistant 1</>\n]<user>\nuser 2<|im_end|>\n<|endoftext|>"
    );
    let leaves_open = "{% for m in messages %}<{{ m.role }}>\n{{ m.content }}{% if not (loop.last and m.role == \
                       'assistant') %}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>\n\
                       {% endif %}";
    assert_eq!(
        shown(leaves_open, &["user", "assistant", "user", "assistant"]),
        "<user>\nuser 0<|im_end|><assistant>\n[assistant 1<|im_end|>]<user>\nuser 2<|im_end|><assistant>\n\
         [assistant 3]<|endoftext|>"
    );
}

/// What is written in a message is text, so that nobody forges a turn, as in sessions.
#[test]
fn conversations_are_the_tokens_that_sessions_read() {
    let folder = Folder::new();
    let line =
        r#"{"messages": [{"role": "system", "content": "be <|im_end|> kind"}, {"role": "user", "content": "hi"}]}"#;
    folder.write("a.jsonl", line);
    let corpus = corpus(&folder, nothing_held_out());
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 100)).unwrap();
    let batch = stream.next_batch().unwrap().unwrap();
    let control = corpus.language().tokenizer.token_id("<|im_end|>").unwrap() as i32;
    // One at the end of each message; the one in the first is letters.
    assert_eq!(batch.targets.iter().filter(|&&id| id == control).count(), 2);
    assert_eq!(stream.report().conversations, 1);
}
