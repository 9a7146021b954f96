//! The page about a run in a real browser.
//!
//! HALFPI_BROWSER names the program, one of Chromium's family; `cargo xtask test report` finds or installs it.

use super::browser::Browser;
use super::{folder, train};

/// As wide as a phone.
const PHONE: (u32, u32) = (400, 800);

#[test]
fn the_page_about_a_run_looks_right_in_a_browser() {
    let folder = folder("page");
    let Some(browser) = Browser::of_environment(&folder) else {
        return;
    };
    let usual = [
        "--shape",
        "nano",
        "--method",
        "ternary, head=q6",
        "-n",
        "30",
        "--rate",
        "3e-3",
    ];
    train(
        &folder,
        &[&usual[..], &["--evaluate-every", "10", "-o", "run"]].concat(),
    );
    let page = folder.join("run/index.html");
    // Bars of the histograms, and of the memory; the thin line of held-out text. What is pale is mixed with the page.
    browser.screenshots(&page, 3000, |picture, colors| {
        picture.has_color(colors[1], 2000);
        picture.has_color(colors[2], 500);
        picture.has_color(colors[4], 200);
    });

    // Nothing may be hidden to the right on a phone, nor stand on something else.
    let html = std::fs::read_to_string(&page).unwrap();
    let probed = page.with_file_name("probed.html");
    std::fs::write(&probed, html + "<script>" + PROBE + "</script>").unwrap();
    let dom = browser.run(&probed, PHONE, &["--dump-dom"]);
    let facts = dom.split_once("data-facts=\"").expect("the probe ran").1;
    let facts = facts.split_once('"').unwrap().0.replace("&quot;", "\"");
    let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["overflow"], 0, "the page is wider than a phone; {facts}");
    assert_eq!(facts["title"], "ternary, head=q6 – halfpi train", "{facts}");
    assert_eq!(facts["sections"], "loss gradients levels memory data", "{facts}");
    assert_eq!(facts["tiles"], 4, "{facts}");
    assert_eq!(facts["flat"], 0, "a curve has no height; {facts}");
    // Updates one by one, and held-out text at the start and every ten; the norms.
    assert_eq!(facts["points"], serde_json::json!([30, 4, 30]), "{facts}");
}

/// Writes down what is there.
const PROBE: &str = r#"
    const all = (what) => [...document.querySelectorAll(what)];
    document.body.dataset.facts = JSON.stringify({
        overflow: Math.max(0, document.documentElement.scrollWidth - innerWidth),
        title: document.title,
        sections: all('section').map((section) => section.id).join(' '),
        tiles: all('.tile').length,
        flat: all('.trend').filter((curve) => curve.getBoundingClientRect().height < 5).length,
        points: all('.trend').map((curve) => curve.getAttribute('d').match(/[ML]/g).length),
    });
"#;
