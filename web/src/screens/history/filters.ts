import { useSearchParams } from "wouter";

/** Filters of the history; they live in the address, so that a view can be kept and sent. */
export interface Filters {
  q: string;
  status: string;
  agent: string;
  from: string;
  to: string;
  stuck: string;
  scope: string;
  archived: string;
  cursor: string;
}

const NAMES = ["q", "status", "agent", "from", "to", "stuck", "scope", "archived", "cursor"] as const;

/** The filters in the address, and the way to change them; a new filter begins at the first page. */
export function useFilters(): [Filters, (change: Partial<Filters>) => void] {
  const [search, setSearch] = useSearchParams();
  const filters = Object.fromEntries(NAMES.map((name) => [name, search.get(name) ?? ""])) as unknown as Filters;
  const change = (change: Partial<Filters>) => {
    const next = { ...filters, ...("cursor" in change ? {} : { cursor: "" }), ...change };
    setSearch(Object.fromEntries(Object.entries(next).filter(([, value]) => value !== "")), { replace: !("cursor" in change) });
  };
  return [filters, change];
}

/** The query of the server: days become the moments they begin and end here. */
export function toQuery(filters: Filters): Record<string, string> {
  const { from, to, ...rest } = filters;
  const query: Record<string, string> = { ...rest };
  if (from !== "") query.from = new Date(`${from}T00:00:00`).toISOString();
  if (to !== "") query.to = new Date(`${to}T23:59:59.999`).toISOString();
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== ""));
}
