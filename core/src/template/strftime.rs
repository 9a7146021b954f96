//! `strftime_now`: today's date in the formats chat templates ask for. UTC, English names, as in Python's C locale.

use minijinja::Error;

use super::meter::Stop;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// Longest accepted format; real ones have under 20 characters.
const MAX_FORMAT_BYTES: usize = 256;

/// A UTC calendar date and time of day.
struct Date {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    day_of_year: i64,
    seconds: i64,
}

impl Date {
    /// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": civil_from_days.
    fn from_unix(unix_seconds: i64) -> Date {
        let days = unix_seconds.div_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let day_of_year = if month > 2 {
            day_from_march + 60 + i64::from(leap)
        } else {
            day_from_march - 305
        };
        Date {
            year,
            month: month as usize,
            day,
            weekday: (days + 3).rem_euclid(7) as usize,
            day_of_year,
            seconds: unix_seconds.rem_euclid(86_400),
        }
    }
}

/// Formats the moment `unix_seconds` with the directives of C's strftime.
pub fn format(format: &str, unix_seconds: i64) -> Result<String, Error> {
    if format.len() > MAX_FORMAT_BYTES {
        return Err(Stop::TooLarge.into());
    }
    // Years 1970 to 9999: what a clock or a caller may say, and where four digits hold.
    let date = Date::from_unix(unix_seconds.clamp(0, 253_402_300_799));
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = rest.next();
        let padded = directive != Some('-');
        if !padded {
            directive = rest.next();
        }
        let two = |n: i64| if padded { format!("{n:02}") } else { n.to_string() };
        let (hour, minute, second) = (date.seconds / 3600, date.seconds / 60 % 60, date.seconds % 60);
        let month_name = MONTHS[date.month - 1];
        let weekday_name = WEEKDAYS[date.weekday];
        out.push_str(&match directive {
            Some('Y') => date.year.to_string(),
            Some('y') => two(date.year % 100),
            Some('m') => two(date.month as i64),
            Some('d') => two(date.day),
            Some('e') => format!("{:2}", date.day),
            Some('j') if padded => format!("{:03}", date.day_of_year),
            Some('j') => date.day_of_year.to_string(),
            Some('B') => month_name.into(),
            Some('b' | 'h') => month_name[..3].into(),
            Some('A') => weekday_name.into(),
            Some('a') => weekday_name[..3].into(),
            Some('u') => (date.weekday + 1).to_string(),
            Some('H') => two(hour),
            Some('I') => two((hour + 11) % 12 + 1),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('F') => format!("{}-{:02}-{:02}", date.year, date.month, date.day),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".into(),
            Some('z') => "+0000".into(),
            Some('%') => "%".into(),
            other => {
                let directive: String = other.into_iter().collect();
                return Err(Stop::Unsupported(format!("the date format %{directive}")).into());
            }
        });
    }
    Ok(out)
}
