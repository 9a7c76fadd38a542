// Figures and times as people read them, each with its unit.

import { nowUs } from "./server-clock.js";

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const ONE_PLACE = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const NONE = "–";

/** True for a number that can be shown. */
export function known(number) {
  return typeof number === "number" && Number.isFinite(number);
}

/** A whole number: 12,345. */
export function count(number) {
  return known(number) ? GROUPED.format(number) : NONE;
}

/** A number with a noun: 1 table, 3 tables. */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** Up to three digits: 0.4, 12, 340, 12.3 k, 4.5 M. */
export function short(number) {
  if (!known(number)) return NONE;
  const size = Math.abs(number);
  for (const [bound, letter] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= bound) {
      const scaled = number / (letter === "k" ? 1e3 : bound);
      return `${Math.abs(scaled) < 100 ? ONE_PLACE.format(scaled) : GROUPED.format(scaled)} ${letter}`;
    }
  }
  return size > 0 && size < 10 && !Number.isInteger(number) ? ONE_PLACE.format(number) : GROUPED.format(number);
}

/** Rows a second. */
export function rate(number) {
  return known(number) ? `${short(number)} rows/s` : NONE;
}

/** Bytes in binary units. */
export function bytes(number) {
  if (!known(number)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [scaled, index] = [number, 0];
  while (scaled >= 1024 && index < units.length - 1) [scaled, index] = [scaled / 1024, index + 1];
  return `${index > 0 && scaled < 100 ? ONE_PLACE.format(scaled) : GROUPED.format(scaled)} ${units[index]}`;
}

/** A length of time: 0.4 s, 12 s, 3 min 05 s, 2 h 03 min, 4 d 2 h. */
export function seconds(number) {
  if (!known(number)) return NONE;
  if (number < 9.95) return `${number > 0 ? ONE_PLACE.format(number) : 0} s`;
  const whole = Math.round(number);
  const two = (part) => String(part).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
  return `${GROUPED.format(Math.floor(whole / 86400))} d ${Math.floor(whole / 3600) % 24} h`;
}

/** A share: 0.034 is 3.4 %, 0.5 is 50 %. */
export function percent(share) {
  if (!known(share)) return NONE;
  const hundredths = share * 100;
  return `${hundredths > 0 && hundredths < 9.95 ? ONE_PLACE.format(hundredths) : GROUPED.format(hundredths)} %`;
}

/** The time of day in this browser's zone: 12:03:05. */
export function clock(us) {
  return known(us) ? new Date(us / 1000).toLocaleTimeString("en-GB") : NONE;
}

/** Date and time in this browser's zone: 2026-11-26 12:03:05. */
export function moment(us) {
  if (!known(us)) return NONE;
  const date = new Date(us / 1000);
  const two = (part) => String(part).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${date.toLocaleTimeString("en-GB")}`;
}

/** How long ago: 3 s ago, 5 min ago, 2 h ago, 4 d ago. */
export function ago(us, now = nowUs()) {
  if (!known(us)) return NONE;
  const past = Math.max(0, Math.round((now - us) / 1e6));
  if (past < 60) return `${past} s ago`;
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  return `${GROUPED.format(Math.floor(past / 86400))} d ago`;
}

/** A sentence with a capital and a full stop. */
export function sentence(text) {
  if (!text) return "";
  const capital = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
