/** The sign of Poststream. */
export function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#2451c7" />
      <path d="M8 10h10M8 16h16M8 22h7" stroke="#fff" strokeWidth="3" strokeLinecap="round" />
      <circle cx="21" cy="22" r="2.2" fill="#9fc0ff" />
    </svg>
  );
}
