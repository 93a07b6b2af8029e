/** The page. */
export function App() {
  return (
    <main>
      <h1>Poststream</h1>
    </main>
  );
}
